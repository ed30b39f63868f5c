"""The rate limit on sending: one schedule and one list of processes, in a real Redis."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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
    rate_limits = itertools.cycle([SharedRateLimit(redis.url, limit) for _ in range(3)])
    began, booked, wait = time.monotonic(), 0, 0.0
    while wait < 20:
        permit = next(rate_limits).take(0)
        wait, before, booked = permit.seconds, booked, booked + permit.permits
        passed = time.monotonic() - began
        # All that was booked before leaves until then; one may ask a tenth of a second late.
        assert limit * (wait - 0.01) <= before <= limit * (passed + wait + 0.11)


def test_processes_are_served_in_order(redis: Redis) -> None:
    rate_limits = [SharedRateLimit(redis.url, SELDOM) for _ in range(3)]
    waits = [rate_limit.take(0).seconds for rate_limit in rate_limits]
    assert waits[0] <= 0
    assert 50 < waits[1] < 100 < waits[2] < 200


def test_the_schedule_outlives_a_process(redis: Redis) -> None:
    SharedRateLimit(redis.url, SELDOM).take(0)
    assert SharedRateLimit(redis.url, SELDOM).take(0).seconds > 50


def test_a_schedule_that_redis_forgot_is_remembered_by_the_process(redis: Redis) -> None:
    rate_limit = SharedRateLimit(redis.url, SELDOM)
    rate_limit.take(0)
    redis.flush()
    assert rate_limit.take(0).seconds > 50


def test_a_restarted_redis_knows_the_script_again(redis: Redis) -> None:
    rate_limit = SharedRateLimit(redis.url, SELDOM)
    rate_limit.take(0)
    redis.kill()
    with pytest.raises(RedisError):
        rate_limit.take(0)
    redis.start()
    assert rate_limit.take(0).seconds > 50


def test_a_message_without_a_permit_takes_a_place_in_the_schedule(redis: Redis) -> None:
    SharedRateLimit(redis.url, SELDOM).heartbeat(1)
    assert SharedRateLimit(redis.url, SELDOM).take(0).seconds > 50


def test_the_last_messages_of_a_process_take_places_too(redis: Redis) -> None:
    SharedRateLimit(redis.url, SELDOM).leave(1)
    assert SharedRateLimit(redis.url, SELDOM).take(0).seconds > 50


def test_a_flood_of_letters_holds_releases_up_by_a_minute_at_most(redis: Redis) -> None:
    rate_limit = SharedRateLimit(redis.url, 10)
    rate_limit.heartbeat(1_000_000)
    assert 30 < rate_limit.take(0).seconds < 61


def test_a_clock_that_was_ahead_leaves_no_standstill(redis: Redis) -> None:
    with Client.from_url(redis.url) as client:
        client.set(SCHEDULE, 4_000_000_000_000_000)
        client.zadd(PROCESSES, {"from the future": 4_000_000_000_000_000})
    permit = SharedRateLimit(redis.url, 10).take(0)
    assert permit.processes == 1
    assert permit.seconds < 61


def test_each_live_process_has_its_place(redis: Redis) -> None:
    rate_limits = [SharedRateLimit(redis.url, None) for _ in range(3)]
    for rate_limit in rate_limits:
        rate_limit.heartbeat(0)
    permits = [rate_limit.heartbeat(0) for rate_limit in rate_limits]
    assert {permit.processes for permit in permits} == {3}
    assert sorted(permit.before for permit in permits) == [0, 1, 2]


# The fixture is emptied for each example.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(5, 30), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), max_size=40))
def test_processes_that_come_and_close_slowly_never_hold_more_than_the_limit(
    redis: Redis, whole: int, steps: list[tuple[int, int]]
) -> None:
    redis.flush()
    shared = [SharedRateLimit(redis.url, None, whole) for _ in range(5)]
    for index, wanted in steps:
        one = shared[index]
        granted = one.heartbeat(0).connections
        # Some that are open beyond what is granted stay so: they wait for the relay.
        one.open = min(wanted, max(granted, one.open))
        assert sum(each.open for each in shared) <= whole


def test_a_process_that_leaves_gives_its_share_up_at_once(redis: Redis) -> None:
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
