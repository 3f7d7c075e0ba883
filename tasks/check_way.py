"""What `holystone check` makes of the way to a host: facts in, lines with remedies out (pure)."""

import os

from tasks.check_findings import Check
from tasks.check_remedies import remedy_of, without_host
from worker.errors import HolystoneError, HostKeyRejected
from worker.host_key import HostKey
from worker.known_hosts import KeyStatus
from worker.way import Way

# How our own texts begin (worker/host_key_check.py, worker/ssh.py). A peer's words come later in them.
_BAD_CERTIFICATE = "the host's certificate is not accepted"
_UNKNOWN = "the host key is not in known_hosts", _BAD_CERTIFICATE
_REVOKED = "the host key is revoked in known_hosts"
_NO_ALGORITHM = "no common ssh algorithm"
BEGINNINGS = (*_UNKNOWN, _REVOKED, _NO_ALGORITHM)
_ANOTHER = "this key is revoked: give the host another one"


def judge_way(way: Way) -> list[Check]:
    """name, port, host_key, login: until the one that failed."""
    checks: list[Check] = []
    if way.behind:
        checks.append(Check("name", "ok", f"{way.target}, behind {way.behind}: resolved there"))
    elif isinstance(way.addresses, OSError):
        why = way.addresses.strerror or str(way.addresses) or "no answer in time"
        text = f"{way.target} does not resolve: {why}"
        remedy = "correct the host's URL, HostName in ssh_config, or the DNS that this machine asks"
        return [*checks, Check("name", "error", text, remedy)]
    elif way.addresses:
        is_name = not any(address in way.target for address in way.addresses)
        resolved = f" is {', '.join(way.addresses)}" if is_name else ""
        checks.append(Check("name", "ok", way.target + resolved))
    if isinstance(way.answer, OSError):
        why = os.strerror(way.answer.errno) if way.answer.errno else str(way.answer)
        text = f"{way.target} does not answer: {why}"
        remedy = "start sshd there, open the port in the firewalls between, or correct the port"
        return [*checks, Check("port", "error", text, remedy)]
    if way.answer:
        checks.append(Check("port", "ok", f"{way.answer} answers"))
    if isinstance(way.failure, HostKeyRejected) or (way.failure and way.key):
        return [*checks, _judge_key(way, way.failure)]
    if way.key_accepted:
        checks.append(Check("host_key", "ok", "known"))
    if way.failure is not None:
        text = without_host(way.host, way.failure)
        return [*checks, Check("login", "error", text, remedy_of(way.failure))]
    return [*checks, Check("login", "ok", f"as {way.user}")]


def _judge_key(way: Way, failure: HolystoneError) -> Check:
    text, remedy = _judge_known(way, way.key, failure) if way.key else _judge_unseen(way, failure)
    return Check("host_key", "error", text, remedy)


def _judge_unseen(way: Way, failure: HolystoneError) -> tuple[str, str]:
    text, remedy = without_host(way.host, failure), remedy_of(failure)
    name, _, why = str(failure).partition(": ")  # the host's, or a jump host's
    if why.startswith(_UNKNOWN):
        remedy = f"holystone trust {name}"
    elif why.startswith(_REVOKED):
        remedy = _ANOTHER
    return text, remedy


def _judge_known(way: Way, key: HostKey, failure: HolystoneError) -> tuple[str, str]:
    shown, text = f"it shows {key.kind.upper()} {key.fingerprint}", without_host(way.host, failure)
    is_lost = not isinstance(failure, HostKeyRejected)  # before it came to the key; the text is the peer's
    if text.startswith(_NO_ALGORITHM) and not is_lost:
        return f"{text}; {shown}", remedy_of(failure)
    if key.status is KeyStatus.REVOKED:
        return f"revoked in known_hosts; {shown}", _ANOTHER
    if key.status is KeyStatus.KNOWN:
        remedy = "renew the host's certificate, or correct HostKeyAlgorithms in ssh_config"
        return f"{text}; {shown}, which is known", remedy
    if key.status is KeyStatus.NEW:
        if is_lost or not text.startswith(_BAD_CERTIFICATE):
            text = "not in known_hosts"
        remedy = f"compare that with `{key.compare_command}` on the host, then: holystone trust {way.host}"
        return f"{text}; {shown}", remedy
    if is_lost:
        text = "the host key differs from the one in known_hosts, which may be an attack"
    remedy = (
        f"find out why it changed; where that was meant: {key.forget_command}, "
        f"then: holystone trust {way.host}"
    )
    return f"{text}; {shown}", remedy
