"""Celery's settings and the beat schedule, built from worker.settings; each with its reason."""

from worker.broker import check_url
from worker.limits import GRACE_S, LONGEST_BACKOFF_S
from worker.logs import get_logger, set_up_early_lines
from worker.schedule import ALERTS_LIMIT_S, WATCH_LIMIT_S, alert_entries, beat_entries
from worker.settings import get_settings

_settings = get_settings()
set_up_early_lines(_settings)
for _warning in _settings.warnings:
    get_logger(__name__).warning("setting set aside", why=_warning)

_url = _settings.redis_url.get_secret_value()
check_url(_url)
_longest_hard_limit = max(_settings.longest_timeout_s, WATCH_LIMIT_S, ALERTS_LIMIT_S) + GRACE_S

# Longer than any run and its back-off, or a run that still goes on is started again. Not much longer: a run
# whose worker was killed waits this long for another worker, and up to 100 s more until kombu next looks.
_margin_s = 15
_visibility_timeout = _longest_hard_limit + LONGEST_BACKOFF_S + _margin_s

# A half-open connection is left within a minute thanks to these and to worker/broker.py.
_socket = {
    "socket_timeout": 8,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
}

imports = ("tasks.prune_build_cache", "tasks.watch_disk", "tasks.send_alerts")

broker_url = _url
broker_transport_options = {"visibility_timeout": _visibility_timeout, **_socket}
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # the default gives up after 100 tries
result_backend = _url
redis_socket_timeout = _socket["socket_timeout"]
redis_socket_connect_timeout = _socket["socket_connect_timeout"]
redis_socket_keepalive = _socket["socket_keepalive"]
redis_retry_on_timeout = True
redis_backend_health_check_interval = _socket["health_check_interval"]
result_backend_always_retry = True  # a report outlives a restart of Redis
result_expires = 7 * 86_400
result_extended = True  # Flower and `inspect` show name, arguments and worker

accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"

# A worker that is killed has its run done again by another. Needs celery 5.6.3 with kombu 5.6.2:
# on 5.7.0 a worker with acks_late exits when Redis goes away during a run.
task_acks_late = True
task_reject_on_worker_lost = True
worker_cancel_long_running_tasks_on_connection_loss = False  # the prune goes on; its report is stored later
worker_prefetch_multiplier = 1
worker_disable_prefetch = True  # messages wait in Redis, for whichever slot is free first
worker_concurrency = 16  # hosts at a time; a slot mostly waits
worker_max_tasks_per_child = 200
worker_soft_shutdown_timeout = float(_longest_hard_limit)  # SIGQUIT lets runs end too; SIGTERM always does

task_track_started = True
worker_send_task_events = True
task_send_sent_event = True

beat_scheduler = "worker.beat:Scheduler"
beat_max_loop_interval = 5
redbeat_lock_timeout = 30  # a killed beat is succeeded after this and one loop
redbeat_redis_options = {"retry_period": -1, **_socket}
beat_schedule = beat_entries(_settings.fleet) | alert_entries(_settings.notify_urls)
