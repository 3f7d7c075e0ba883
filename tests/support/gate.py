"""holystone-gate in front of stand-in commands that record every call, alone or behind a real sshd."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tasks.command_set import JOBS, PRUNE_ALL, templates_of
from tasks.disk_policy import CACHE_USAGE
from tasks.gate_file import GATE_FILE, INSTALLED_AS, authorized_keys_line, render_gate
from tasks.prune_following import PRUNING, RECORDS, events_argv
from tasks.prune_policy import preview_argv, prune_argv
from tests.support.scripts import put_script
from tests.support.ssh_keys import make_key, public_key
from tests.support.sshd import SshServer
from worker.ages import to_until
from worker.look import BUILDER, CLI_VERSION, CONTEXT, INFO, disk_argv

MIN_AGE_S = 3600
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"
_RECORDER = """#!/bin/sh
line=${{0##*/}}
for word; do line="$line$(printf '\\037')$word"; done
printf '%s\\n' "$line" >>{record}
"""

# What may stand in a hole, said once more and in another language than the gate's.
_HOLES = {
    "@age@": r"([1-9][0-9]{0,9})([hms])",
    "@seconds@": r"[1-9][0-9]{0,5}",
    "@path@": r"(?!.*/\.{0,2}/)(?!/(?:dev|proc|sys)/)/[A-Za-z0-9@%+=:,./_-]{0,254}",
    "@time@": r"[1-9][0-9]{0,9}",
    "@id@": r"[0-9a-f]{64}",
}
_UNITS = {"h": 3600, "m": 60, "s": 1}
LONGEST_AGE_S = 100 * 366 * 86400


def _pattern(template: tuple[str, ...]) -> re.Pattern[str]:
    parts = re.split("(" + "|".join(_HOLES) + ")", shlex.join(template))
    return re.compile("".join(_HOLES.get(part, re.escape(part)) for part in parts), re.ASCII)


_PATTERNS = {template: _pattern(template) for template in templates_of(JOBS)}


def matching(command: str) -> list[tuple[str, ...]]:
    """The templates of all jobs that describe `command`, whatever the age in it."""
    return [template for template, pattern in _PATTERNS.items() if pattern.fullmatch(command)]


def is_let_in(command: str, allow_all: bool, min_age_s: int = MIN_AGE_S) -> bool:
    """Whether a gate for all jobs, with `--all` or without, should let `command` in."""
    if command == "holystone-gate version":
        return True
    for template in matching(command):
        if template == PRUNE_ALL and not allow_all:
            return False
        found = _PATTERNS[template].fullmatch(command)
        assert found is not None
        if "@age@" in " ".join(template):
            return min_age_s <= int(found[1]) * _UNITS[found[2]] <= LONGEST_AGE_S
        return "@seconds@" not in template or int(shlex.split(command)[3]) <= 604_800
    return False


def commands(allow_all: bool) -> list[tuple[str, ...]]:
    """What the jobs send, with `--all` only where the settings have it: every form of command, with values
    from one end of each setting to the other."""
    ages = ["1h", "3600", "90m", "5430s", "24h", "1h30m", "7d", "1w", "100w", "36600d"]
    untils = [to_until(age) for age in ages]
    paths = ["/", "/var/lib/docker", "/mnt/big-disk_2/docker.d", "/srv/a@b%c+d=e:f,g", "/" + "x" * 254]
    return [
        INFO,
        CONTEXT,
        BUILDER,
        CLI_VERSION,
        CACHE_USAGE,
        RECORDS,
        PRUNING,
        *(events_argv(since, since + 21_600) for since in (1, 1_780_000_000, 9_999_978_399)),
        *map(disk_argv, paths),
        *(preview_argv(limit_s) for limit_s in (1, 9, 120, 86_400, 7 * 86_400)),
        *(
            prune_argv(until, every)
            for until in untils
            for every in ((True, False) if allow_all else (False,))
        ),
    ]


class RecordingGate:
    """The gate as a file, and `docker`, `df` and so on that do nothing but note their arguments."""

    def __init__(
        self, folder: Path, *, min_age_s: int = MIN_AGE_S, allow_all: bool = False, logger: bool = False
    ) -> None:
        self._min_age_s, self._logger = min_age_s, logger
        self.folder, self.commands = folder, folder / "commands"
        self.commands.mkdir(parents=True)
        self.record = folder / "record"
        self.path = folder / "holystone-gate"
        self.stand_ins()
        if not logger:  # found last on the gate's path, and far slower
            for name in ("env", "tr", "cut"):
                (self.commands / name).symlink_to(f"/usr/bin/{name}")
        self.text = self.render(allow_all)
        self.install(self.text)

    def render(self, allow_all: bool) -> str:
        text = render_gate(GATE_FILE.read_text(), self._min_age_s, JOBS, allow_all)
        return with_path(text, self.commands, self._logger)

    def install(self, text: str) -> None:
        put_script(self.path, text)

    def stand_ins(self) -> None:
        for name in ("docker", "df", "timeout", "pgrep"):
            self.stand_in(name, _RECORDER.format(record=self.record))

    def stand_in(self, name: str, script: str) -> None:
        put_script(self.commands / name, script)

    def calls(self) -> list[tuple[str, ...]]:
        """The argv of every command that was run, in order."""
        if not self.record.exists():
            return []
        return [tuple(line.split("\x1f")) for line in self.record.read_text().split("\n")[:-1]]

    def forget(self) -> None:
        self.record.unlink(missing_ok=True)

    def ask(
        self, command: str | bytes | None, *shell: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs the gate as sshd's session would, with `shell` (else by its own `#!`)."""
        own: dict[str, str | bytes] = {"HOME": str(self.folder), "PATH": os.environ["PATH"], **(env or {})}
        if command is not None:
            own["SSH_ORIGINAL_COMMAND"] = command
        argv = [*shell, str(self.path)]
        return subprocess.run(argv, env=own, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def with_path(text: str, commands: Path, and_system: bool = True) -> str:
    """The gate's text with `commands` before, or in place of, where it looks for docker."""
    line = f"\npath={SYSTEM_PATH}\n"
    assert text.count(line) == 1
    return text.replace(line, f"\npath={commands}{':' + SYSTEM_PATH if and_system else ''}\n")


class GatedServer:
    """An SshServer that takes two keys: `identity` is confined by the gate, `open_identity` by nothing.

    It offers all that a key could be denied: sftp, forwarding, a terminal, and variables of the client.
    """

    def __init__(self, tmp: Path) -> None:
        self.gate = RecordingGate(tmp / "gate", logger=True)
        self.server = SshServer(tmp / "sshd")
        self.open_identity = tmp / "open_identity"
        self.log = tmp / "logged"

    def __enter__(self) -> Self:
        make_key(self.open_identity)
        script = f"#!/bin/sh\nprintf '%s\\n' \"$*\" >>{self.log}\n"
        self.gate.stand_in("logger", script)  # no syslog of this machine is written to
        server = self.server.__enter__()
        server.stop()
        line = authorized_keys_line(server.identity.with_suffix(".pub").read_text())
        (server.tmp / "authorized_keys").write_text(
            line.replace(INSTALLED_AS, str(self.gate.path)) + f"\n{public_key(self.open_identity)}\n"
        )
        config = server.tmp / "sshd_config"
        config.write_text(
            config.read_text()
            + "Subsystem sftp internal-sftp\nAllowAgentForwarding yes\n"
            + "X11Forwarding yes\nXAuthLocation /bin/true\n"
            + "AcceptEnv LANG LC_* ENV DOCKER_* BUILDX_* *_PROXY\n"
        )
        server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.stop()

    def begin(self) -> None:
        """A new test: the gate as it should be, nothing was run yet, and nothing logged."""
        self.gate.install(self.gate.text)
        self.gate.stand_ins()
        self.gate.forget()
        self.log.unlink(missing_ok=True)

    def logged(self) -> list[str]:
        """What the gate told syslog."""
        return self.log.read_text().splitlines() if self.log.exists() else []
