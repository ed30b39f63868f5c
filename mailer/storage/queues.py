"""The queues of wake-up jobs: RQ jobs without data that tell a worker to look at the rows."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import lru_cache
from typing import cast

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

JOBS = {
    "letters": "mailer.fanout.jobs.drain_letters",
    "releases": "mailer.fanout.jobs.drain_releases",
}
"""Each queue's one job, by the dotted name that a worker of an earlier version calls."""

_TIMEOUT_SECONDS = 1.0
_WAIT_SECONDS = 0.5
_LIVES = "mailer:worker:{}"
"""The key by which a worker of a queue says that it lives."""
_LIVES_SECONDS, _SAID_EVERY_SECONDS = 30, 5.0
_FAILURE_KEPT_SECONDS = 86_400

log = logging.getLogger(__name__)


def wake(redis_url: str | None, queue_name: str) -> bool:
    """Queue a wake-up job after a commit; True if one is in the queue now.

    Never raises RedisError, and takes no longer than a second or so: the rows are the truth, and
    the sweep queues another job. A job that is still in the queue is enough, since the worker
    that takes it looks at the rows after this commit.
    """
    if redis_url is None:
        return False
    try:
        queue = _queue(redis_url, queue_name)
        if not queue.count:
            queue.enqueue(
                JOBS[queue_name],
                job_timeout=-1,
                result_ttl=0,
                failure_ttl=_FAILURE_KEPT_SECONDS,
            )
    except RedisError as error:
        log.warning("No wake-up job for %s: Redis failed, %s.", queue_name, type(error).__name__)
        return False
    return True


@lru_cache(maxsize=4)
def _queue(redis_url: str, queue_name: str) -> Queue:
    return Queue(queue_name, connection=quick_connection(redis_url), serializer=JSONSerializer)


@lru_cache(maxsize=4)
def quick_connection(redis_url: str) -> Redis:
    """Return a client whose commands are answered within a second, or raise RedisError."""
    return Redis.from_url(
        redis_url,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def has_worker(redis_url: str, queue_name: str) -> bool:
    """Tell whether a worker that lives serves a queue; raises RedisError."""
    return bool(quick_connection(redis_url).exists(_LIVES.format(queue_name)))


class Waiting:
    """How a worker waits for the jobs of a queue, and says that it lives."""

    def __init__(self, redis_url: str, queue_name: str) -> None:
        self._redis = quick_connection(redis_url)
        self._queue_key = Queue.redis_queue_namespace_prefix + queue_name
        self._lives = _LIVES.format(queue_name)
        self._said = 0.0

    def job_came(self) -> bool:
        """Wait for a job for half a second, and remove it unread; raises RedisError."""
        self._say()
        found = self._redis.blpop([self._queue_key], timeout=_WAIT_SECONDS)
        if found is not None:
            self._redis.delete(Job.key_for("").encode() + cast("bytes", found[1]))
        return found is not None

    def say_that_it_lives(self) -> None:
        """Say so every few seconds; Redis may be away."""
        with suppress(RedisError):
            self._say()

    def _say(self) -> None:
        if time.monotonic() - self._said >= _SAID_EVERY_SECONDS:
            self._said = time.monotonic()
            self._redis.set(self._lives, "1", ex=_LIVES_SECONDS)
