"""What `holystone check` makes of the way to a host: facts in, lines with remedies out (pure)."""

import os

from tasks.check_findings import Check, split_remedy, without_host
from worker.errors import HolystoneError, HostKeyRejected
from worker.known_hosts import Standing
from worker.way import Way


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
    if isinstance(way.failure, HostKeyRejected):
        return [*checks, _judge_key(way, way.failure)]
    if way.key_accepted:
        checks.append(Check("host_key", "ok", "known"))
    if way.failure is not None:
        text, remedy = split_remedy(
            way.host, way.failure, "look at sshd's log there, and at the network between"
        )
        return [*checks, Check("login", "error", text, remedy)]
    return [*checks, Check("login", "ok", f"as {way.user}")]


def _judge_key(way: Way, failure: HolystoneError) -> Check:
    key, text = way.key, without_host(way.host, failure)
    if key is None:
        who = text.partition(": ")[0] if way.behind else way.host  # it may be a jump host's
        remedy = f"holystone trust {who}"
        if "not in known_hosts" not in text:
            remedy = "correct that file, or the setting or ssh_config that stands against it"
        return Check("host_key", "error", text, remedy)
    shown = f"it shows {key.kind.upper()} {key.fingerprint}"
    if key.standing is Standing.NEW:
        remedy = f"compare that with `{key.compare}` on the host, then: holystone trust {way.host}"
        return Check("host_key", "error", f"not in known_hosts; {shown}", remedy)
    text = f"{text}; {shown}"
    if key.standing is Standing.REVOKED:
        return Check("host_key", "error", text, "this key is revoked: give the host another one")
    remedy = f"find out why it changed; where that was meant: {key.forget}, then: holystone trust {way.host}"
    return Check("host_key", "error", text, remedy)
