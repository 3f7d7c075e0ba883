"""Every way in which a run can fail: one class each, one sentence each.

Arguments are JSON values and rebuild the exception, because Celery's JSON result backend stores an
exception as its type and its `args`. No argument ever holds a secret.
"""

from typing import Any


class HolystoneError(Exception):
    """Base of all errors that a run reports on purpose.

    `is_remembered`: counted with the host already, by this delivery of the run's message or an earlier one.
    """

    is_remembered = False

    def __repr__(self) -> str:
        # Flower shows the repr; the default would show bare arguments instead of the sentence.
        return f"{type(self).__name__}: {self}"


class InvalidArgument(HolystoneError):
    """A value given by hand makes no sense; the message names the field and the remedy."""


class UnknownHost(HolystoneError):
    """The host is not in the settings, and only configured hosts are ever contacted."""

    def __init__(self, host: str, known: list[str]) -> None:
        super().__init__(host, known)

    def __str__(self) -> str:
        host, known = self.args
        return f"{host!r} is not a configured host; known: {', '.join(known) or 'none'}"


class TransportError(HolystoneError):
    """The way to the host failed; the same run may succeed a little later, so these are retried."""


class HostUnreachable(TransportError):
    """No connection, no answer in time, or the connection was lost."""


class HostKeyRejected(HolystoneError):
    """The host's key is unknown, changed or revoked; nothing was sent."""


class AuthenticationFailed(HolystoneError):
    """The host refused every key on offer, or a key or ssh setting can't be used."""


class UnsupportedEngine(HolystoneError):
    """The host's `docker` is not Docker's, or its endpoint or builder is not that host's own engine."""


class CommandFailed(HolystoneError):
    """A command on the host exited with an error, or printed what can't be used."""

    def __init__(self, command: str, exit_status: int | None, stderr: str) -> None:
        super().__init__(command, exit_status, stderr)

    def __str__(self) -> str:
        command, exit_status, stderr = self.args
        ends = {None: "was killed by a signal", 0: "gave nothing usable"}
        how = ends.get(exit_status, f"exited with status {exit_status}")
        return f"`{command}` {how}: {stderr or '(nothing on stderr)'}"


class GateDenied(HolystoneError):
    """The host's holystone-gate did not let a command in; nothing was run.

    `min_age_s` is the gate's minimum where the command's age is below it, else None.
    """

    # Reasons with a remedy of their own, in the gate's words.
    BELOW_MIN_AGE, NO_ALL, BAD_PATH = "age below the minimum", "all not allowed", "not a path that it takes"

    def __init__(
        self,
        host: str,
        command: str,
        reason: str,
        min_age_s: int | None,
        gate_version: int | None,
        own_version: int,
    ) -> None:
        super().__init__(host, command, reason, min_age_s, gate_version, own_version)

    def __str__(self) -> str:
        host, command, reason, min_age_s, gate_version, own_version = self.args
        if min_age_s is not None:
            remedy = (
                f"its minimum is {min_age_s} s: raise until (HOLYSTONE_PRUNE_UNTIL, prune.until; of an "
                "early prune HOLYSTONE_DISK_LADDER, disk.ladder), or install one there that "
                "`holystone gate --min-age` printed for less"
            )
        elif reason == self.NO_ALL:
            remedy = (
                "it was printed without --all: switch all off (HOLYSTONE_PRUNE_ALL, prune.all), or install "
                "one there that `holystone gate --allow-all` printed"
            )
        elif reason == self.BAD_PATH and gate_version == own_version:
            remedy = (
                "gates take only paths of letters, digits and @%+=:,./_-, so none with blanks, and none "
                "below /dev, /proc or /sys: give docker another root directory there (data-root)"
            )
        elif gate_version == own_version:
            remedy = (
                f"it has this worker's command set (version {own_version}): change the value that it denies, "
                "or, if it was printed for other jobs, print it anew with `holystone gate`, and install that"
            )
        elif gate_version is not None and gate_version > own_version:
            remedy = (
                f"its command set is version {gate_version}, this worker sends version {own_version}: "
                "upgrade this worker"
            )
        else:
            version = "unknown" if gate_version is None else gate_version
            remedy = (
                f"its command set is version {version}, this worker sends version {own_version}: "
                "print it anew with `holystone gate`, and install it there"
            )
        return f"{host}: holystone-gate there denied `{command}` ({reason}); {remedy}"


class CommandTimedOut(HolystoneError):
    """The run reached its soft limit."""

    def __init__(
        self, host: str, seconds: float, passes: int, reclaimed_bytes: int | None, may_still_run: bool
    ) -> None:
        super().__init__(host, seconds, passes, reclaimed_bytes, may_still_run)

    def __str__(self) -> str:
        host, seconds, passes, reclaimed_bytes, may_still_run = self.args
        amount = "an unknown amount" if reclaimed_bytes is None else f"{reclaimed_bytes} bytes"
        left = "its prune was not ended there" if may_still_run else "no prune was left running"
        return (
            f"{host}: not finished after {seconds:g} s ({passes} passes done, {amount} reclaimed so far); "
            f"may_still_run={str(may_still_run).lower()} ({left}). "
            "A first run on a full disk takes long: raise HOLYSTONE_PRUNE_TIMEOUT_S (prune.timeout_s)."
        )


class GivenUp(HolystoneError):
    """The run ended its worker each time it was delivered, and is not tried again."""


def to_record(error: HolystoneError) -> dict[str, Any]:
    """What is stored of a failed run, for `raise_again`."""
    return {"error": type(error).__name__, "args": list(error.args)}


def raise_again(record: dict[str, Any]) -> None:
    """Raises the error that `to_record` stored; does nothing for a report."""
    if "error" in record:
        error: HolystoneError = globals()[record["error"]](*record["args"])
        error.is_remembered = True
        raise error
