"""Counters, of one process and of all together: the same promises."""

from __future__ import annotations

import time

import pytest
from redis import Redis as Client

from mailer.storage.rate_limits import Limit, OwnCounter, SharedCounter
from tests.processes import eventually
from tests.servers import Redis

AGE = 1_000_000_000
"""Seconds of a window of time that nobody sees the end of."""
LIMIT = Limit(100, AGE, "network", "192.0.2.0/24")


@pytest.fixture(params=["shared", "own"])
def counter(request: pytest.FixtureRequest, redis: Redis) -> SharedCounter | OwnCounter:
    return SharedCounter(redis.url) if request.param == "shared" else OwnCounter()


def admitted(counter: SharedCounter | OwnCounter, limit: Limit, tries: int) -> int:
    return sum(counter.full([limit]) is None for _ in range(tries))


def test_as_many_as_the_limit_have_room(counter: SharedCounter | OwnCounter) -> None:
    assert admitted(counter, Limit(3, AGE, "network", "192.0.2.0/24"), 5) == 3
    assert admitted(counter, Limit(3, AGE, "network", "198.51.100.0/24"), 5) == 3
    assert admitted(counter, Limit(3, AGE, "room", "192.0.2.0/24"), 5) == 3


def test_the_first_limit_without_room_is_told_and_those_behind_it_lose_nothing(
    counter: SharedCounter | OwnCounter,
) -> None:
    one, other = Limit(1, AGE, "network", "one"), Limit(2, AGE, "all", "together")
    assert counter.full([one, other]) is None
    assert counter.full([one, other]) == one
    assert counter.full([other]) is None
    assert counter.full([other]) == other


def test_there_is_room_again_when_the_time_is_over(counter: SharedCounter | OwnCounter) -> None:
    limit = Limit(2, 1, "network", "192.0.2.0/24")
    eventually(lambda: counter.full([limit]), "the limit is reached")
    eventually(lambda: counter.full([limit]) is None, "there is room again")


def test_the_window_before_counts_by_what_is_left_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = OwnCounter()

    def admitted_at(windows: float) -> int:
        monkeypatch.setattr(time, "time", lambda: windows * AGE)
        return admitted(own, LIMIT, 200)

    assert admitted_at(0.9) == 100
    assert admitted_at(1.25) == 25
    assert admitted_at(3.0) == 100


def test_the_window_before_counts_likewise_in_redis(redis: Redis) -> None:
    shared = SharedCounter(redis.url)
    shared.full([LIMIT])
    with Client.from_url(redis.url) as client:
        [key] = client.keys()
        client.hset(key, mapping={"before": 100, "this": 0})
    passed = time.time() % AGE / AGE
    assert admitted(shared, LIMIT, 100) == pytest.approx(100 * passed, abs=1)


def test_what_is_counted_is_forgotten(redis: Redis) -> None:
    counter, limit = SharedCounter(redis.url), Limit(100, 1, "network", "192.0.2.0/24")
    with Client.from_url(redis.url) as client:
        counter.full([limit])
        [key] = client.keys()
        fields, first = client.hlen(key), int(client.hget(key, "number") or 0)

        def counted_on() -> bool:
            counter.full([limit])
            return int(client.hget(key, "number") or 0) > first + 2

        eventually(counted_on, "windows of time have passed")
        assert client.hlen(key) == fields
        eventually(lambda: not client.keys(), "the key is gone")
