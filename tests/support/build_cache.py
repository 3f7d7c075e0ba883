"""Fill a Docker host's build cache with real records, and read them back."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.support import docker_api
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.docker_host import DockerHost

# Each RUN stands on the one before, so only the last is a leaf. The token makes every fill a new chain, where
# it would else be a cache hit.
_BUILD = r"""
set -e
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp /bin/busybox "$context/busybox"
echo "$1" > "$context/token"
{
  echo 'FROM scratch'
  echo 'COPY busybox /bin/busybox'
  echo 'COPY token /token'
  for layer in $(seq "$3"); do
    printf 'RUN ["/bin/busybox", "dd", "if=/dev/urandom", "of=/%s", "bs=1024", "count=%s"]\n' "$layer" "$2"
  done
} > "$context/Dockerfile"
docker build --quiet --network=none --tag "holystone-$1" "$context"
docker image rm "holystone-$1"
"""


def fill_cache(host: DockerHost, megabytes: int = 8, layers: int = 3) -> None:
    """Leave about `megabytes` of reclaimable cache: `layers` chained records, and those of the context.

    The image is removed, or its records would count as shared and stay. None is in use any more: what a build
    holds it gives back only after its end.
    """
    token = secrets.token_hex(6)
    host.run("sh", "-c", _BUILD, "build", token, str(megabytes * 1024 // layers), str(layers))
    wait_until_unused_for(host, 0)


def cache_records(host: DockerHost) -> list[dict[str, Any]]:
    """The engine's own list of build cache records (ID, Type, Size, InUse, Shared, LastUsedAt, ...)."""
    return list(docker_api.get(host.socket, "/system/df").get("BuildCache") or [])


def cache_bytes(host: DockerHost) -> int:
    """The size of the records that a prune may take."""
    return sum(int(record["Size"]) for record in cache_records(host) if not record["Shared"])


def wait_until_unused_for(host: DockerHost, seconds: float, timeout_s: float = 60) -> None:
    """Wait until every record was last used more than `seconds` ago, so `until=<seconds>s` takes them all."""

    def old_enough() -> bool:
        now = datetime.now(UTC)
        return all(
            not record["InUse"] and (now - _last_use(record)).total_seconds() > seconds
            for record in cache_records(host)
        )

    wait_until(old_enough, timeout_s + seconds, f"build cache records unused for {seconds:g} s")


def _last_use(record: dict[str, Any]) -> datetime:
    # Nanoseconds, which fromisoformat of 3.11 cuts to microseconds.
    return datetime.fromisoformat(record["LastUsedAt"] or record["CreatedAt"])
