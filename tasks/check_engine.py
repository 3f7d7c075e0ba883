"""What `holystone check` makes of a host's engine: facts in, lines with remedies out (pure)."""

import re

from tasks.check_findings import Check
from tasks.check_remedies import remedy_of, without_host
from worker.engine import Engine
from worker.errors import CommandFailed, HolystoneError

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)
_Version = tuple[int, int]
_SAFE_CANCEL, _GC_BY_DEFAULT = (26, 0), (28, 2)  # engines
_UNTIL_WORKS, _GC_LISTED = (0, 9), (0, 11)  # of buildx
_GC_REMEDY = (
    'put "builder": {"gc": {"enabled": true}} into /etc/docker/daemon.json there and restart the engine'
)
_NOT_RUNNING = (
    "cannot connect to the docker daemon",
    "daemon running",
    "failed to connect to the docker api",  # from CLI 29
)


def judge_docker(found: Engine | HolystoneError, user: str, host: str) -> list[Check]:
    """docker: whether there is an engine that this login may use."""
    if isinstance(found, Engine):
        text = f"Engine {found.server}, CLI {found.client or 'unknown'}, prunes by {found.builder}"
        return [Check("docker", "ok", text)]
    if not isinstance(found, CommandFailed):
        return [Check("docker", "error", without_host(host, found), remedy_of(found))]
    _, exit_status, stderr = found.args
    said = stderr.strip().splitlines()[0] if stderr.strip() else "it said nothing"
    lower = stderr.lower()
    if exit_status == 127 and "timeout" in said and "docker" not in said:
        text, remedy = "there is no `timeout`", "install coreutils there"
    elif exit_status == 127:
        text, remedy = "not installed", "install it there, where this login's ssh commands find it (PATH)"
    elif exit_status == 126:
        text, remedy = f"{user} may not execute it", "look there: ls -lL $(command -v docker)"
    elif "permission denied" in lower:
        text, remedy = f"{user} may not use it", f"there, as root: usermod -aG docker {user}"
    elif any(words in lower for words in _NOT_RUNNING):
        text, remedy = "its engine does not run", "there, as root: systemctl start docker"
    elif exit_status in (None, 137):
        text, remedy = "no answer within 60 s", "look at the engine's log: journalctl -u docker"
    else:
        text, remedy = "its commands fail", "try `docker info` there, as this login"
    return [Check("docker", "error", f"{text}: {said}", remedy)]


def judge_versions(engine: Engine) -> list[Check]:
    """engine, garbage_collection, builder: versions with known defects."""
    server, builder = _version(engine.server), _version(engine.builder)
    return [
        _judge_server(engine, server),
        *_judge_collection(engine, server, builder),
        *_judge_builder(engine, builder),
    ]


def _judge_server(engine: Engine, server: _Version | None) -> Check:
    if server is None:
        text = f"version {engine.server!r} can't be read"
        return Check("engine", "warning", text, "is it Docker's own?")
    if server < _SAFE_CANCEL:
        text = (
            f"{engine.server}: before 26, a prune that is ended midway can block its builder until it is "
            "restarted (moby/buildkit#4399)"
        )
        return Check("engine", "warning", text, "upgrade to 26 or later; don't interrupt prunes there")
    return Check("engine", "ok", f"{engine.server}, no known defect")


def _judge_collection(engine: Engine, server: _Version | None, builder: _Version | None) -> list[Check]:
    name, is_before = "garbage_collection", server is not None and server < _GC_BY_DEFAULT
    if engine.gc_rules:
        return [Check(name, "ok", f"on, {engine.gc_rules} rule{'' if engine.gc_rules == 1 else 's'}")]
    if engine.gc_rules == 0 and builder is not None and builder >= _GC_LISTED:
        remedy = f"{'upgrade to 28.2 or later, or ' if is_before else ''}{_GC_REMEDY}"
        return [Check(name, "warning", "off: the engine collects no build cache by itself", remedy)]
    if is_before:
        text = (
            "before Engine 28.2 it is off, unless daemon.json there switches it on, which can't be read here"
        )
        remedy = "upgrade to 28.2 or later"
        if builder is None or builder < _GC_LISTED:
            remedy += "; or, to see it here, install buildx 0.11 or later there"
        return [Check(name, "warning", text, remedy)]
    return []  # on by default


def _judge_builder(engine: Engine, builder: _Version | None) -> list[Check]:
    if not engine.builder.startswith("buildx"):
        return []
    if builder is None:
        text = f"{engine.builder}: its version can't be read; before 0.9 it ignores `until`"
        return [Check("builder", "warning", text, "look there: docker buildx version")]
    if builder < _UNTIL_WORKS:
        text = f"{engine.builder}: before 0.9 it ignores `until`, so that prunes remove nothing"
        return [Check("builder", "error", text, "upgrade the buildx plugin there to 0.9 or later")]
    return [Check("builder", "ok", engine.builder)]


def _version(text: str) -> _Version | None:
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2])) if match else None
