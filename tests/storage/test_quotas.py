"""The quotas: one schedule and one register for all processes, kept by a real Redis."""

from __future__ import annotations

import itertools
import time

import pytest
from redis import Redis as Client
from redis import RedisError

from mailer.storage.rate_limits import PROCESSES, SCHEDULE, SharedRateLimit
from tests.processes import free_port
from tests.servers import Redis

SELDOM = 0.01
"""One message in 100 seconds, so that however slow the machine is, a wait is a wait."""


@pytest.mark.parametrize(
    ("limit", "slices"), [(5_000, [500, 250, 166]), (20, [2, 1, 1]), (0.5, [1, 1, 1])]
)
def test_a_slice_is_shared_by_all_who_live(redis: Redis, limit: float, slices: list[int]) -> None:
    assert [SharedRateLimit(redis.url, limit).take(0).permits for _ in slices] == slices


@pytest.mark.parametrize("limit", [0.5, 7, 300, 5_000])
def test_together_they_book_all_that_the_limit_allows_and_never_more(
    redis: Redis, limit: float
) -> None:
    quotas = itertools.cycle([SharedRateLimit(redis.url, limit) for _ in range(3)])
    began, booked, wait = time.monotonic(), 0, 0.0
    while wait < 20:
        turn = next(quotas).take(0)
        wait, before, booked = turn.seconds, booked, booked + turn.permits
        passed = time.monotonic() - began
        # All that was booked before leaves until then; one may ask a tenth of a second late.
        assert limit * (wait - 0.01) <= before <= limit * (passed + wait + 0.11)


def test_whoever_asks_is_served_in_order(redis: Redis) -> None:
    quotas = [SharedRateLimit(redis.url, SELDOM) for _ in range(3)]
    waits = [quota.take(0).seconds for quota in quotas]
    assert waits[0] <= 0
    assert 50 < waits[1] < 100 < waits[2] < 200


def test_the_schedule_outlives_a_process(redis: Redis) -> None:
    SharedRateLimit(redis.url, SELDOM).take(0)
    assert SharedRateLimit(redis.url, SELDOM).take(0).seconds > 50


def test_a_schedule_that_redis_forgot_is_remembered_by_whoever_asks(redis: Redis) -> None:
    quota = SharedRateLimit(redis.url, SELDOM)
    quota.take(0)
    redis.flush()
    assert quota.take(0).seconds > 50


def test_a_redis_that_starts_anew_knows_the_script_again(redis: Redis) -> None:
    quota = SharedRateLimit(redis.url, SELDOM)
    quota.take(0)
    redis.kill()
    with pytest.raises(RedisError):
        quota.take(0)
    redis.start()
    assert quota.take(0).seconds > 50


def test_what_leaves_without_a_permit_is_made_room_for(redis: Redis) -> None:
    SharedRateLimit(redis.url, SELDOM).heartbeat(1)
    assert SharedRateLimit(redis.url, SELDOM).take(0).seconds > 50


def test_what_leaves_at_the_end_is_made_room_for_too(redis: Redis) -> None:
    SharedRateLimit(redis.url, SELDOM).leave(1)
    assert SharedRateLimit(redis.url, SELDOM).take(0).seconds > 50


def test_a_flood_of_letters_holds_releases_up_by_a_minute_at_most(redis: Redis) -> None:
    quota = SharedRateLimit(redis.url, 10)
    quota.heartbeat(1_000_000)
    assert 30 < quota.take(0).seconds < 61


def test_a_clock_that_was_ahead_leaves_no_standstill(redis: Redis) -> None:
    with Client.from_url(redis.url) as client:
        client.set(SCHEDULE, 4_000_000_000_000_000)
        client.zadd(PROCESSES, {"from the future": 4_000_000_000_000_000})
    turn = SharedRateLimit(redis.url, 10).take(0)
    assert turn.processes == 1
    assert turn.seconds < 61


def test_those_who_live_have_their_places(redis: Redis) -> None:
    quotas = [SharedRateLimit(redis.url, None) for _ in range(3)]
    for quota in quotas:
        quota.heartbeat(0)
    turns = [quota.heartbeat(0) for quota in quotas]
    assert {turn.processes for turn in turns} == {3}
    assert sorted(turn.before for turn in turns) == [0, 1, 2]


def test_whoever_leaves_makes_room_at_once(redis: Redis) -> None:
    staying, leaving = SharedRateLimit(redis.url, None), SharedRateLimit(redis.url, None)
    leaving.heartbeat(0)
    assert staying.heartbeat(0).processes == 2
    leaving.leave(0)
    assert staying.heartbeat(0).processes == 1


def test_an_absent_redis_is_said_to_be_absent() -> None:
    with pytest.raises(RedisError):
        SharedRateLimit(f"redis://127.0.0.1:{free_port()}/0", 1).take(0)


def test_a_frozen_redis_is_said_to_be_absent(redis: Redis) -> None:
    redis.freeze()
    with pytest.raises(RedisError):
        SharedRateLimit(redis.url, 1).take(0)
