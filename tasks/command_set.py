"""The commands that the jobs send to hosts, as templates: what holystone-gate lets in (data).

A template is what a job's own function builds when it is given holes for values: an argv in which `@age@`
stands for any age. Whoever changes one raises worker.gate.COMMAND_SET_VERSION.
"""

from collections.abc import Iterable, Mapping
from typing import cast

from tasks.disk_policy import CACHE_USAGE
from tasks.prune_following import PRUNING, events_argv
from tasks.prune_policy import preview_argv, prune_argv
from worker.look import BUILDER, CLI_VERSION, CONTEXT, INFO, disk_argv
from worker.policies import PRUNE_JOB, WATCH_JOB

Template = tuple[str, ...]

# The gate's check_age says what may stand in @age@, and so on.
AGE, SECONDS, PATH, TIME, ID = HOLES = ("@age@", "@seconds@", "@path@", "@time@", "@id@")

# In a gate only where the settings or the operator ask for it.
PRUNE_ALL: Template = prune_argv(AGE, True)

_LOOK: tuple[Template, ...] = (INFO, CONTEXT, BUILDER, CLI_VERSION)

# Of two commands of which one is the start of the other, the longer stands first.
JOBS: Mapping[str, tuple[Template, ...]] = {
    PRUNE_JOB: (
        *_LOOK,
        disk_argv(PATH),
        preview_argv(cast("int", SECONDS)),  # it only makes a word of it
        events_argv(cast("int", TIME), cast("int", TIME)),
        PRUNING,
        PRUNE_ALL,
        prune_argv(AGE, False),
    ),
    WATCH_JOB: (*_LOOK, disk_argv(PATH), CACHE_USAGE),
}


def templates_of(jobs: Iterable[str]) -> tuple[Template, ...]:
    """The templates of `jobs`, each once."""
    return tuple(dict.fromkeys(template for job in jobs for template in JOBS[job]))
