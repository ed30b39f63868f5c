"""Wake-up jobs: enqueued if Redis answers, and never in the way of a request."""

from __future__ import annotations

import json
import zlib

import pytest
from redis import Redis as Client
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from mailer.storage.queues import JOBS, wake
from tests.processes import free_port
from tests.servers import Redis


def hanging(redis: Redis, queue: str) -> list[Job]:
    """Give the jobs that hang in a queue."""
    client = Client.from_url(redis.url)
    jobs: list[Job] = Queue(queue, connection=client, serializer=JSONSerializer).jobs
    return jobs


@pytest.mark.parametrize("queue", JOBS)
def test_a_ring_leaves_one_job_that_drains_that_queue(redis: Redis, queue: str) -> None:
    assert wake(redis.url, queue)
    [job] = hanging(redis, queue)
    assert job.func_name == JOBS[queue]


def test_ringing_twice_leaves_one_job(redis: Redis) -> None:
    assert wake(redis.url, "letters")
    assert wake(redis.url, "letters")
    assert len(hanging(redis, "letters")) == 1


def test_after_a_worker_took_the_job_a_ring_leaves_another(redis: Redis) -> None:
    wake(redis.url, "letters")
    [job] = hanging(redis, "letters")
    with Client.from_url(redis.url) as client:
        client.lpop("rq:queue:letters")
    assert wake(redis.url, "letters")
    [other] = hanging(redis, "letters")
    assert other.id != job.id


def test_each_queue_has_its_own_bell(redis: Redis) -> None:
    wake(redis.url, "letters")
    assert hanging(redis, "releases") == []


def test_a_job_may_take_as_long_as_it_takes(redis: Redis) -> None:
    wake(redis.url, "releases")
    [job] = hanging(redis, "releases")
    assert job.timeout == -1


def test_a_job_carries_nothing_and_is_json_not_pickle(redis: Redis) -> None:
    wake(redis.url, "releases")
    [job] = hanging(redis, "releases")
    with Client.from_url(redis.url) as client:
        data = client.hget(f"rq:job:{job.id}", "data")
    assert isinstance(data, bytes)
    name, _, args, kwargs = json.loads(zlib.decompress(data))
    assert (name, args, kwargs) == (JOBS["releases"], [], {})


def test_without_redis_nobody_hears() -> None:
    assert not wake(None, "letters")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}/0", "unix:///nowhere/{}"])
def test_an_absent_redis_is_no_error(url: str) -> None:
    assert not wake(url.format(free_port()), "letters")


def test_a_frozen_redis_is_no_error_and_hears_again_after_it_thaws(redis: Redis) -> None:
    redis.freeze()
    assert not wake(redis.url, "letters")
    redis.thaw()
    assert wake(redis.url, "letters")


def test_a_redis_that_restarted_hears_again(redis: Redis) -> None:
    assert wake(redis.url, "letters")
    redis.kill()
    assert not wake(redis.url, "letters")
    redis.start()
    assert wake(redis.url, "letters")
    assert len(hanging(redis, "letters")) == 1


def test_a_redis_that_takes_nothing_is_no_error(redis: Redis) -> None:
    with Client.from_url(redis.url) as client:
        client.config_set("maxmemory", "1")
        try:
            assert not wake(redis.url, "letters")
        finally:
            client.config_set("maxmemory", "0")
