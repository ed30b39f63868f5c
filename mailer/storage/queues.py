"""The queues of wake-up jobs: RQ jobs without data that tell a worker to look at the rows."""

from __future__ import annotations

import logging
from functools import lru_cache

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue, Worker
from rq.serializers import JSONSerializer

JOBS = {
    "letters": "mailer.fanout.jobs.drain_letters",
    "releases": "mailer.fanout.jobs.drain_releases",
}
"""Each queue's one job, by dotted name. Jobs outlive a deploy: these names are a contract."""

_TIMEOUT_SECONDS = 1.0
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
    return bool(Worker.all(queue=_queue(redis_url, queue_name), serializer=JSONSerializer))


def worker_connection(redis_url: str) -> Redis:
    """Return a client for a worker, which waits for a job as long as RQ lets it."""
    return Redis.from_url(
        redis_url, socket_connect_timeout=_TIMEOUT_SECONDS, retry=Retry(NoBackoff(), 0)
    )
