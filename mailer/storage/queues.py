"""The doorbells: RQ jobs that carry no data and only say that there are rows to look at."""

from __future__ import annotations

import logging
from functools import lru_cache

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

JOBS = {
    "letters": "mailer.fanout.jobs.drain_letters",
    "releases": "mailer.fanout.jobs.drain_releases",
}
"""Each queue's one job, by dotted name. Jobs outlive a deploy: these names are a contract."""

_RING_SECONDS = 1.0
_FAILURE_KEPT_SECONDS = 86_400

log = logging.getLogger(__name__)


def wake(redis_url: str | None, queue_name: str) -> bool:
    """Wake one worker of a queue after a commit; True if it hears.

    Never raises and never holds the caller up for more than a second or so: the rows are
    the truth, and the sweep rings again. A bell that still hangs in the queue is enough,
    since whoever takes it looks at the rows after this commit.
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
        log.warning("The doorbell of %s is silent: %s.", queue_name, type(error).__name__)
        return False
    return True


@lru_cache(maxsize=4)
def _queue(redis_url: str, queue_name: str) -> Queue:
    return Queue(queue_name, connection=prompt_connection(redis_url), serializer=JSONSerializer)


@lru_cache(maxsize=4)
def prompt_connection(redis_url: str) -> Redis:
    """Connect for a question that holds nobody up: an answer within a second, or RedisError."""
    return Redis.from_url(
        redis_url,
        socket_timeout=_RING_SECONDS,
        socket_connect_timeout=_RING_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def patient_connection(redis_url: str) -> Redis:
    """Connect as a worker does, which waits for doorbells as long as RQ asks it to."""
    return Redis.from_url(
        redis_url, socket_connect_timeout=_RING_SECONDS, retry=Retry(NoBackoff(), 0)
    )
