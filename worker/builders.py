"""The buildx builders of a host beside the engine's own, and what their caches hold (pure).

A docker-container builder keeps its cache in a volume, which stays when it is stopped: its size is in `docker
system df`, whatever the builder's login, and without a word to the builder.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.look import bounded
from worker.sizes import parse_size

LIMIT_S = 20
CONTAINER_DRIVER = "docker-container"
# Neither asks a builder that isn't running to start.
LIST_JSON = bounded(("docker", "buildx", "ls", "--format", "json"), LIMIT_S)  # from buildx 0.13
LIST_TABLE = bounded(("docker", "buildx", "ls"), LIMIT_S)

# Of what a host prints: more would only hold up the other hosts.
_MOST_LINES, _MOST_NODES, _LONGEST_NAME = 1000, 100, 200
_VOLUME = re.compile(r"buildx_buildkit_(.{1,200})_state")


@dataclass(frozen=True)
class Builder:
    """A builder that the login knows: its driver, and its nodes with where each is."""

    name: str
    driver: str
    nodes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class OtherCache:
    """A cache that `docker builder prune` does not cover. `size_bytes` is None where it wasn't read."""

    builder: str
    size_bytes: int | None


def parse_builders(stdout: str) -> list[Builder]:
    """The builders in `docker buildx ls`, as JSON lines or as a table."""
    lines = [line for line in stdout.splitlines() if line.strip()][:_MOST_LINES]
    is_json = bool(lines) and lines[0].startswith("{")
    found = list(_from_json(lines)) if is_json else _from_table(lines[1:])
    return list({builder.name: builder for builder in found}.values())  # 0.13 repeats one for each node


def _from_json(lines: Sequence[str]) -> Iterator[Builder]:
    for line in lines:
        fields = _dict(_load(line))
        nodes = [_dict(node) for node in _list(fields.get("Nodes"))[:_MOST_NODES]]
        yield Builder(
            _text(fields.get("Name")) or "?",
            _text(fields.get("Driver")) or "?",
            tuple((_text(node.get("Name")) or "?", _text(node.get("Endpoint"))) for node in nodes),
        )


def _from_table(lines: Sequence[str]) -> list[Builder]:
    found: list[tuple[str, str, list[tuple[str, str]]]] = []
    for line in lines:
        words = [_text(word) for word in line.replace("\\_", " ").split() if word != "*"]
        if words and not line[0].isspace():
            found.append((words[0].rstrip("*"), (*words, "?")[1], []))
        elif words and found:
            found[-1][2].append((words[0].rstrip("*"), (*words, "")[1]))
    return [Builder(name, driver, tuple(nodes[:_MOST_NODES])) for name, driver, nodes in found]


def parse_state_volumes(system_df: str) -> dict[str, int | None] | None:
    """Bytes of each docker-container builder's cache by its node's name, from `docker system df -v --format
    '{{json .}}'`, or None where that lists no volumes."""
    volumes = _dict(_load(system_df)).get("Volumes")
    if not isinstance(volumes, list):
        return None
    named = [(_VOLUME.fullmatch(str(_dict(each).get("Name"))), _dict(each).get("Size")) for each in volumes]
    return {match[1]: parse_size(str(size)) for match, size in named if match}


def other_caches(
    builders: Sequence[Builder], volumes: Mapping[str, int | None] | None
) -> tuple[list[OtherCache], list[str]]:
    """(caches on this host beside the engine's own, names of builders that have none here so far).

    `volumes` as of `parse_state_volumes`. A cache whose builder isn't among `builders` is another login's,
    and is called by its node.
    """
    left = dict(volumes or {})
    caches: list[OtherCache] = []
    without: list[str] = []
    for builder in builders:
        if builder.driver == CONTAINER_DRIVER:
            sizes = [left.pop(node) for node, _ in builder.nodes if node in left]
            if volumes is None:
                caches.append(OtherCache(builder.name, None))
            elif sizes:
                caches.append(OtherCache(builder.name, _sum(sizes)))
            else:
                without.append(builder.name)
        elif builder.driver != "docker" and any(place.startswith("unix:") for _, place in builder.nodes):
            caches.append(OtherCache(builder.name, None))  # a buildkitd on this host
    caches += [OtherCache(node, size) for node, size in left.items()]
    return caches, without


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _text(value: Any) -> str:
    return value[:_LONGEST_NAME] if isinstance(value, str) else ""


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
