"""A program that sends runs and waits for their reports, with no delay of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from celery import Celery
from celery.states import READY_STATES

from tests.support.client import TASK


class Sender:
    """Sends by name. Results come by the notice that `AsyncResult.get` waits for too, not by polling."""

    def __init__(self, app: Celery, notices: redis.client.PubSub) -> None:
        self._app, self._notices = app, notices

    def prune(self, hosts: Sequence[str], timeout_s: float = 300) -> None:
        """One run per host, all sent before the first is waited for.

        AssertionError where one did not prune: it would only look fast.
        """
        waited_for = {self._app.send_task(TASK, kwargs={"host": host}).id for host in hosts}
        deadline = time.monotonic() + timeout_s
        while waited_for:
            assert time.monotonic() < deadline, f"{len(waited_for)} runs without a result in {timeout_s} s"
            notice = self._notices.get_message(timeout=1)
            if notice is None or notice["type"] != "pmessage":
                continue
            meta: dict[str, Any] = json.loads(notice["data"])
            if meta["task_id"] in waited_for and meta["status"] in READY_STATES:
                assert meta["status"] == "SUCCESS", f"failed, so not to be counted: {meta['result']}"
                assert meta["result"]["outcome"] == "done", f"not pruned: {meta['result']}"
                waited_for.remove(meta["task_id"])


@contextmanager
def open_sender(url: str) -> Iterator[Sender]:
    """A Sender on the Redis at `url`, its connections warm."""
    app = Celery("bench", broker=url, set_as_current=False)
    app.conf.update(task_serializer="json", task_ignore_result=True)
    with app, redis.Redis.from_url(url) as client, client.pubsub() as notices:
        notices.psubscribe("celery-task-meta-*")
        assert notices.get_message(timeout=10), "no answer from Redis"  # else a result may come before
        yield Sender(app, notices)
