"""Beat's schedule in Redis, written and removed many entries at a time: two round trips, or one."""

from collections.abc import Iterable
from typing import Any

from redbeat.schedulers import get_redis

from worker.beat_entry import make_entry


def write_entries(app: Any, names: Iterable[str], only_missing: bool = False) -> None:
    """Writes these entries of the settings, all or (a full Redis) none; keeps last runs that are there.

    Missing is also what has no definition, or no last run, not even "never": a tick that goes on while Redis
    comes back empty writes nothing but last runs and due times. Raises redis.RedisError.
    """
    client, conf = get_redis(app), app.redbeat_conf
    entries = [make_entry(app, name) for name in names]
    with client.pipeline(transaction=False) as pipe:
        for entry in entries:
            pipe.hmget(entry.key, "definition", "meta")
            pipe.zscore(conf.schedule_key, entry.key)
            pipe.sismember(conf.statics_key, entry.name)
        found = pipe.execute()
    with client.pipeline() as pipe:
        for entry, (definition, meta), score, is_static in zip(
            entries, found[::3], found[1::3], found[2::3], strict=True
        ):
            if only_missing and definition and meta and score is not None and is_static:
                continue
            entry.last_run_at = entry.decode_meta(meta)["last_run_at"]
            entry.save_by(pipe)
        pipe.execute()


def remove_entries(app: Any, names: Iterable[str]) -> None:
    """Removes these entries, which must be some. Raises redis.RedisError."""
    conf, names = app.redbeat_conf, list(names)
    keys = [conf.key_prefix + name for name in names]
    with get_redis(app).pipeline() as pipe:
        pipe.zrem(conf.schedule_key, *keys)
        pipe.delete(*keys)
        pipe.srem(conf.statics_key, *names)
        pipe.execute()
