"""Whoever can write to Redis can slow what is sent, or stop it for a while, and no more."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis as Client
from redis import RedisError

from mailer.storage.rate_limits import PROCESSES, SCHEDULE, SharedRateLimit
from mailer.storage.shared_rate import SharedAdaptiveRate
from tests.fanout.press_room import SendingRoom, crowd
from tests.servers import Redis

NUMBERS = ("nan", "-nan", "inf", "-inf", "9" * 30, "-1", "0", "1e400", "x", "", "\x00", "1e-300")
FIELDS = ("rate", "rising", "number", "accepted", "throttled", "turns", "slow_starts")
RATE = "mailer:adaptive-rate"
HELD = "mailer:pace:connections"


def forge(client: Client, choose: random.Random) -> None:
    """Put a number in the place of one of ours, or a thing of another kind."""
    number = choose.choice(NUMBERS)
    key = choose.choice((RATE, HELD, SCHEDULE, PROCESSES))
    if choose.random() < 0.1:
        client.delete(key)
        client.lpush(key, number)
    elif key in (RATE, HELD):
        for field in (*FIELDS, *client.hkeys(key)):
            client.hset(key, field, number)
    elif key == SCHEDULE:
        client.set(key, number)
    else:
        client.zadd(key, {f"process-{choose.random()}": choose.random() * 2e15})


@contextmanager
def forging(url: str, seed: int) -> Iterator[None]:
    """Forge numbers in Redis for as long as the block runs."""
    over = threading.Event()

    def work() -> None:
        with Client.from_url(url) as client:
            choose = random.Random(seed)
            while not over.wait(0.002):
                try:
                    forge(client, choose)
                except RedisError:
                    client.flushall()

    forger = threading.Thread(target=work)
    forger.start()
    try:
        yield
    finally:
        over.set()
        forger.join()


@pytest.mark.parametrize("limit", [None, 200.0])
@pytest.mark.parametrize("seed", range(2))
def test_forged_numbers_lose_nobody_and_send_no_faster(
    empty_room: SendingRoom, redis: Redis, seed: int, limit: float | None
) -> None:
    people = crowd(100)
    empty_room.add_followers(*people)
    empty_room.adjust(connections=4, messages_a_second=limit)
    release_id = empty_room.publish()
    with forging(redis.url, seed):
        for _ in range(50):
            empty_room.drain()
            if empty_room.receipt(release_id).state == "done":
                break
    assert empty_room.receipt(release_id).accepted == len(people)
    assert empty_room.received() == dict.fromkeys(people, 1)
    if limit is not None:
        seconds = Counter(int(one.at) for one in empty_room.relay.received)
        # What is booked for a tenth of a second, of Redis and of a process that is alone.
        assert max(seconds.values()) <= limit * 1.5


@pytest.mark.parametrize("number", NUMBERS)
def test_a_forged_schedule_gives_no_more_permits(redis: Redis, number: str) -> None:
    limit = SharedRateLimit(redis.url, 10)
    with Client.from_url(redis.url) as client:
        waited = 0.0
        for _ in range(20):
            client.set(SCHEDULE, number)
            try:
                waited = max(waited, limit.take(0).seconds)
            except RedisError:
                return
    assert waited >= 1


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("number", NUMBERS)
def test_a_forged_rate_is_an_error_of_redis_or_a_rate(
    redis: Redis, field: str, number: str
) -> None:
    shared = SharedAdaptiveRate(redis.url)
    with Client.from_url(redis.url) as client:
        for call in (shared.ask, lambda: shared.set(5.0, rising=False)):
            client.hset(RATE, field, number)
            try:
                found = call()
            except RedisError:
                continue
            assert found.rate is None or 0 < found.rate < 1e7
            assert min(found.others) >= 0
