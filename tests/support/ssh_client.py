"""The worker's own ssh client, in this process, against a throw-away sshd."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.support.sshd import SshServer
from worker.hosts import parse_host
from worker.settings import Settings
from worker.shell import Completed, connect


def ssh_settings(server: SshServer, tmp: Path, config: str = "", **changes: Any) -> Settings:
    """Settings with which `server` is reached, but for `changes`; `config` is the whole ssh_config."""
    file = tmp / "ssh_config"
    file.write_text(config)
    right: dict[str, Any] = {
        "ssh_config": file,
        "ssh_known_hosts": server.known_hosts,
        "ssh_identity": server.identity,
        "ssh_connect_timeout_s": 60,
    }
    return Settings(**(right | changes))


def run_on(url: str, settings: Settings, *argv: str) -> Completed:
    """One command on the host that `url` names, over a connection of its own."""

    async def visit() -> Completed:
        async with connect(parse_host(url), settings) as shell:
            return await shell.run(argv)

    return asyncio.run(visit())
