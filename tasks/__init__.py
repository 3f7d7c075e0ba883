"""The jobs, one module each, and the `holystone` command."""

NO_HOST = "no host configured: set HOLYSTONE_HOSTS"
PRUNE_JOB = "prune_build_cache"
PRUNE_TASK = f"tasks.{PRUNE_JOB}"
WATCH_JOB = "watch_disk"
WATCH_TASK = f"tasks.{WATCH_JOB}"
