"""A `docker` that answers and prunes as a test says, for what real engines can't be made to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.scripts import put_script

_SCRIPT = """#!/bin/sh
folder={folder}
echo "$*" >> "$folder/calls"
case "$1 $2" in
"--version ") cat "$folder/version" ;;
"info --format") cat "$folder/info" ;;
"context inspect") cat "$folder/context" ;;
"builder inspect") cat "$folder/builder" ;;
"builder prune") . "$folder/prune" ;;
"builder du") cat "$folder/du" ;;
*) echo "stand-in: unknown command $*" >&2; exit 64 ;;
esac
"""
# 49.21MB the first time, nothing left after.
_PRUNE = r"""
if [ -e "$folder/pruned" ]; then printf 'Total:\t0B\n'; exit; fi
touch "$folder/pruned"
printf 'ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\nabc\ttrue\t49.21MB\t2 days ago\nTotal:\t49.21MB\n'
"""
WAIT_FOR_GO = 'while [ ! -e "$folder/go" ]; do sleep 0.05; done\n'


class StandInDocker:
    """Its files in `folder` say what it answers; put `folder` first on PATH, or `script` in an SshServer."""

    def __init__(self, folder: Path, *, engine_id: str = "stand-in-engine") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.answers("version", "Docker version 26.1.5, build a72d7cd\n")
        self.answers("context", '"unix:///var/run/docker.sock"\n')
        self.answers("builder", "Name:   default\nDriver: docker\n")
        self.answers("du", "Total:\t0B\n")
        self.engine(ID=engine_id)
        self.prunes(_PRUNE)
        put_script(folder / "docker", self.script)

    @property
    def script(self) -> str:
        return _SCRIPT.format(folder=self.folder)

    def engine(self, **facts: Any) -> None:
        """What `docker info` says, beside the usual."""
        plugins = [{"Name": "buildx", "Version": "0.13.1"}]
        info = {
            "ID": "stand-in-engine",
            "ServerVersion": "26.1.5",
            "DockerRootDir": "/",
            "ClientInfo": {"Version": "26.1.5", "Context": "default", "Plugins": plugins},
        }
        self.answers("info", json.dumps(info | facts))

    def answers(self, file: str, text: str) -> None:
        """What `version`, `info`, `context` or `builder` prints from now on."""
        beside = self.folder / f"{file}.new"  # a command that goes on reads the old text or the new
        beside.write_text(text)
        beside.rename(self.folder / file)

    def prunes(self, script: str) -> None:
        """What `docker builder prune` does from now on: sh, with `$folder` set."""
        self.answers("prune", script)

    def prunes_on_go(self) -> None:
        """Each prune waits for `go`, and then finds its 49.21MB."""
        self.prunes('echo $$ >> "$folder/prune-pids"\n' + WAIT_FOR_GO + _PRUNE)

    def go(self) -> None:
        (self.folder / "go").touch()

    def calls(self, start: str = "") -> list[str]:
        """The commands that were run, as typed, that begin with `start`."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith(start)]

    @property
    def prunes_started(self) -> int:
        return len(self.calls("builder prune"))
