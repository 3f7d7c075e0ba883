"""What `holystone check` finds on this side: in the settings, Redis, worker, beat and notifications."""

import re
from typing import TYPE_CHECKING

from tasks.cli.celery_calls import worker_answers
from tasks.cli.check_rows import Checked
from tasks.cli.host_rows import other_warnings
from tasks.cli.terminal import RedisTrouble, use_redis
from worker.settings import Settings

if TYPE_CHECKING:
    from tasks.check_findings import Check, Status
    from worker.fleet import LeftOut

_BEAT_LOCK = "redbeat::lock"
# The warnings of what switched pruning off, though nobody said so.
_PRUNING_IS_OFF = re.compile(
    r"pruning is off|(PRUNE_ENABLED|prune\.enabled) .*used instead: off$|: prune is a table"
)


def check_settings(settings: Settings) -> list["Check"]:
    """What was set aside when the settings were read, but for hosts."""
    from tasks.check_findings import Check

    remedy = "correct it, then restart beat, the workers and Flower"

    def judge(warning: str) -> Check:
        status: Status = "error" if _PRUNING_IS_OFF.search(warning) else "warning"
        return Check("settings", status, warning, remedy)

    return [judge(warning) for warning in other_warnings(settings)]


def check_left_out(settings: Settings) -> list[Checked]:
    """The configured hosts that are not served; one that is named twice is, by its first entry."""
    from tasks.check_findings import Check

    served = {host.casefold() for host in settings.fleet}
    remedy = "correct its entry: HOLYSTONE_HOSTS, or hosts in holystone.toml"

    def judge(gone: "LeftOut") -> Check:
        status: Status = "warning" if gone.host.casefold() in served else "error"
        return Check("settings", status, gone.reason, remedy)

    return [Checked(gone.host, [judge(gone)]) for gone in settings.left_out]


def check_services(settings: Settings) -> list["Check"]:
    """What every host's prune needs on this side."""
    from tasks.check_findings import Check
    from worker.redis_url import shown_url

    try:
        with use_redis(settings) as client:
            has_beat = bool(client.exists(_BEAT_LOCK))
            answers = worker_answers()
    except RedisTrouble as error:
        remedy = "start it (`holystone up`, or docker compose up -d), or correct HOLYSTONE_REDIS_URL"
        if error.is_url:
            remedy = "correct HOLYSTONE_REDIS_URL"
        return [Check("redis", "error", str(error), remedy)]
    checks = [Check("redis", "ok", f"{shown_url(settings.redis_url.get_secret_value())} answers")]
    if answers:
        checks.append(Check("worker", "ok", "answers"))
    elif answers is None:
        checks.append(Check("worker", "error", "can't be asked through Redis", "look at Redis's log"))
    else:
        checks.append(Check("worker", "warning", "none answers: nothing runs", "celery -A worker worker"))
    if has_beat:
        checks.append(Check("beat", "ok", "holds its lock"))
    else:
        remedy = "celery -A worker beat"
        checks.append(Check("beat", "warning", "none is at work: nothing is sent by schedule", remedy))
    return checks


def check_notifications(settings: Settings) -> list["Check"]:
    """Whether alerts have a way out; nothing is sent."""
    if not settings.notify_urls:
        return []
    from tasks.check_findings import judge_notifications
    from worker.notify import accepts, service_of

    urls = settings.notify_urls
    return judge_notifications([service_of(url) for url in urls], [accepts(url) for url in urls])
