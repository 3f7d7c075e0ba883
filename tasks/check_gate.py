"""What `holystone check` makes of the gate on a host: facts in, a line with its remedy out (pure)."""

from collections.abc import Collection

from tasks.check_findings import Check
from tasks.prune_arguments import ages_of
from worker.ages import age_seconds
from worker.errors import GateDenied
from worker.fleet import HostSettings
from worker.gate import COMMAND_SET_VERSION, Gate
from worker.shell import Completed

_LINE = "put the line of `holystone gate --authorized-keys` there"


def judge_gate(
    found: Gate | GateDenied | Completed, configured: HostSettings, jobs: Collection[str]
) -> Check:
    """gate: whether the key is confined, and to what is sent here. `found` is a denial where the gate is
    installed, but not as this key's forced command, and what was answered where no gate did."""
    if isinstance(found, GateDenied):
        text = "it is installed, but does not confine this key, which can do anything that docker can"
        return Check("gate", "warning", text, _LINE)
    if isinstance(found, Completed):
        if not _is_unknown_command(found):
            text = "no shell and no gate answers: is another command forced on this key or login?"
            return Check("gate", "warning", text, _LINE)
        text = "none: this key can do anything that docker can, which is as good as root"
        return Check("gate", "warning", text, "confine it: holystone gate --help")
    text = (
        f"version {found.version}; jobs {', '.join(found.jobs) or 'none'}; ages from {found.min_age_s} s; "
        f"{'with or without' if found.all else 'never with'} --all"
    )
    if missing := [job for job in jobs if job not in found.jobs]:
        return Check(
            "gate",
            "error",
            f"{text}: {', '.join(missing)} denied",
            "print it anew: holystone gate, install it",
        )
    denied = [age for age in ages_of(configured) if age_seconds(age) < found.min_age_s]
    if denied:
        remedy = "raise until (HOLYSTONE_PRUNE_UNTIL, prune.until, disk.ladder), or: holystone gate --min-age"
        return Check("gate", "error", f"{text}: {', '.join(denied)} denied", remedy)
    if configured.prune.enabled and configured.prune.all and not found.all:
        remedy = "switch all off (HOLYSTONE_PRUNE_ALL, prune.all), or: holystone gate --allow-all, install it"
        return Check("gate", "error", f"{text}, which this host's settings ask for", remedy)
    if found.version < COMMAND_SET_VERSION:
        text += f"; this worker's is version {COMMAND_SET_VERSION}"
        return Check("gate", "warning", text, "print it anew: holystone gate, and install it there")
    return Check("gate", "ok", text)


def _is_unknown_command(answer: Completed) -> bool:
    """Whether a shell looked for the command: 127, or as csh says it."""
    return answer.exit_status == 127 or "command not found" in answer.stderr.lower()
