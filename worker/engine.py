"""The engine that a host's `docker` speaks to, from what the commands of worker/look.py print (pure)."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.docker import parse_time, read_json
from worker.errors import CommandFailed, UnsupportedEngine

_VERSION = re.compile(r"v?([0-9][0-9A-Za-z.~-]{0,63})", re.ASCII)
_BUILDER = re.compile(r"Name:[ \t]+(\S{1,128})[ \t]*\r?\nDriver:[ \t]+(\S{1,128})[ \t]*\r?$", re.MULTILINE)
# Of the lines that follow: `Error:` stands in place of the status where buildx could not ask the engine.
_RUNNING = re.compile(r"^Status:[ \t]+running\b", re.MULTILINE)
_GC_RULE = re.compile(r"^GC Policy rule#", re.MULTILINE)
_CLASSIC_USAGE = re.compile(r"^Usage:[ \t]+docker builder\b", re.MULTILINE)
_ENGINE_ID = re.compile(r"[A-Za-z0-9:_-]{8,128}", re.ASCII)


@dataclass(frozen=True)
class Engine:
    """A Docker engine and the CLI that speaks to it. `builder` is `buildx 0.13.1` or `classic`.

    `gc_rules` counts the rules of the engine's own garbage collection, as its builder lists them; None where
    that was not read. A buildx before 0.11 lists none, whatever the engine has.
    """

    id: str
    server: str
    client: str | None
    builder: str
    root: str
    now: datetime | None
    gc_rules: int | None = None


def parse_cli_version(stdout: str) -> str | None:
    """The version in the output of `docker --version`, or None where Docker's CLI gives none.

    Raises UnsupportedEngine where it is not Docker's CLI.
    """
    if not stdout.startswith("Docker version "):
        raise UnsupportedEngine(f"`docker` is not Docker's CLI but says {_start(stdout)}; install docker-cli")
    return _version(stdout.removeprefix("Docker version "))


def client_in_info(info: str) -> str | None:
    """The version of the CLI that printed `docker info`; None before CLI 23, and where it isn't Docker's."""
    return _version(str(_client(read_json(info, dict) or {}).get("Version") or ""))


def parse_engine(client: str | None, info: str, endpoint: str, builder: str) -> Engine:
    """The engine behind a host's `docker`, from its version and the output of the commands in worker/look.py.

    Raises UnsupportedEngine unless they say: a Docker engine, a socket on that host, a builder that is the
    engine's own; CommandFailed where the engine does not answer its CLI.
    """
    if not is_socket(endpoint):
        raise UnsupportedEngine(
            f"docker's endpoint is {_start(read_json(endpoint, str) or endpoint)}, not a socket on that "
            "host; unset DOCKER_HOST and DOCKER_CONTEXT there, or configure the engine's own host"
        )
    facts = read_json(info, dict) or {}
    if errors := facts.get("ServerErrors"):  # up to CLI 26 `docker info --format` then exits with 0
        raise CommandFailed("docker info", 0, str(errors[0] if isinstance(errors, list) else errors)[:300])
    engine_id, server, root = (str(facts.get(key) or "") for key in ("ID", "ServerVersion", "DockerRootDir"))
    if root.endswith("/containers/storage"):
        raise UnsupportedEngine(f"the engine is Podman (its data is in {root}), whose prune removes images")
    if not (_ENGINE_ID.fullmatch(engine_id) and server and root.startswith("/") and root.isprintable()):
        raise UnsupportedEngine(f"`docker info` does not describe a Docker engine: {_start(info)}")
    return Engine(
        id=engine_id,
        server=_plain(server),
        client=client,
        builder=_builder(_client(facts), builder),
        root=root,
        now=parse_time(str(facts.get("SystemTime") or "")),
        gc_rules=len(_GC_RULE.findall(builder)) if _RUNNING.search(builder) else None,
    )


def is_socket(endpoint: str) -> bool:
    """Whether the endpoint of docker's context is a socket on the CLI's own machine."""
    return (read_json(endpoint, str) or "").startswith("unix://")


def _builder(client: dict[str, Any], inspected: str) -> str:
    """Who answers `docker builder`, from what `docker builder inspect` said.

    Raises UnsupportedEngine unless it is the classic CLI, or buildx with the context's own builder: any other
    has another cache.
    """
    found = _BUILDER.match(inspected)
    if found is None:
        if _CLASSIC_USAGE.search(inspected):  # it has no `inspect`
            return "classic"
        raise UnsupportedEngine(
            f"`docker builder inspect` does not say whose cache a prune would take: {_start(inspected)}; "
            "run it there as that user"
        )
    (name, driver), context = found.groups(), client.get("Context")
    if (name, driver) == (context, "docker"):
        return f"buildx {_plain(_buildx_version(client))}"
    remedy = "unset BUILDX_BUILDER there, `docker buildx use default` or `docker buildx uninstall`"
    if name == context:  # what was made under a name that a context got later goes before it
        remedy = f"`docker buildx rm {name}` there, or `docker context use` another"
    raise UnsupportedEngine(
        f"`docker builder prune` would take the cache of builder {name!r} (driver {driver}), "
        f"not the engine's own; {remedy}"
    )


def _buildx_version(client: dict[str, Any]) -> str:
    plugins = client.get("Plugins")
    for plugin in plugins if isinstance(plugins, list) else []:
        if isinstance(plugin, dict) and plugin.get("Name") == "buildx":
            return str(plugin.get("Version") or "unknown")
    return "unknown"


def _client(facts: dict[str, Any]) -> dict[str, Any]:
    client = facts.get("ClientInfo")
    return client if isinstance(client, dict) else {}


def _version(text: str) -> str | None:
    match = _VERSION.match(text)
    return _plain(match[1]) if match else None


def _plain(version: str) -> str:
    """`v26.1.5+dfsg1` -> `26.1.5`."""
    return version.removeprefix("v").split("+")[0][:64]


def _start(text: str) -> str:
    return repr(text.strip()[:120])
