"""Turns of sign-ups, of one process and of all together: the same promises."""

from __future__ import annotations

import time

import pytest
from redis import Redis as Client

from mailer.storage.rate_limits import Limit, OwnBooking, SharedBooking
from tests.processes import eventually
from tests.servers import Redis

AGE = 1_000_000
"""Seconds in which no turn comes while a test looks."""

Booking = SharedBooking | OwnBooking


@pytest.fixture(params=["shared", "own"])
def booking(request: pytest.FixtureRequest, redis: Redis) -> Booking:
    return SharedBooking(redis.url) if request.param == "shared" else OwnBooking()


def admitted(booking: Booking, limit: Limit, tries: int) -> int:
    return sum(booking.book([limit])[0] is None for _ in range(tries))


def test_as_many_as_the_limit_come_at_once(booking: Booking) -> None:
    assert admitted(booking, Limit(3, AGE, "network", "192.0.2.0/24"), 5) == 3
    assert admitted(booking, Limit(3, AGE, "network", "198.51.100.0/24"), 5) == 3
    assert admitted(booking, Limit(3, AGE, "room", "192.0.2.0/24"), 5) == 3


def test_further_ones_wait_for_their_turns_and_no_more_than_may(booking: Booking) -> None:
    limit = Limit(2, 200, "network", "192.0.2.0/24", waiting=3)
    waits = [booking.book([limit]) for _ in range(6)]
    assert [full for full, _ in waits] == [None] * 5 + [limit]
    assert [round(wait / 100) for _, wait in waits[:5]] == [0, 0, 1, 2, 3]


def test_who_waits_waits_for_the_longest(booking: Booking) -> None:
    short = Limit(1, 10, "network", "a", waiting=9)
    long = Limit(1, 1_000, "network", "b", waiting=9)
    booking.book([short, long])
    assert booking.book([short, long])[1] == pytest.approx(1_000, abs=5)


def test_the_limit_that_is_full_is_told_and_nothing_is_booked_at_the_others(
    booking: Booking,
) -> None:
    one, other = Limit(1, AGE, "network", "one"), Limit(2, AGE, "all", "together")
    assert booking.book([other, one])[0] is None
    assert booking.book([other, one])[0] == one
    assert booking.book([other])[0] is None
    assert booking.book([other])[0] == other


def test_there_is_room_again_when_the_time_is_over(booking: Booking) -> None:
    limit = Limit(2, 1, "network", "192.0.2.0/24")
    eventually(lambda: booking.book([limit])[0], "the limit is reached")
    eventually(lambda: booking.book([limit])[0] is None, "there is room again")


def test_turns_come_back_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    own, limit = OwnBooking(), Limit(100, AGE, "network", "192.0.2.0/24")

    def admitted_at(ages: float) -> int:
        monkeypatch.setattr(time, "time", lambda: 1e9 + ages * AGE)
        return admitted(own, limit, 200)

    assert [admitted_at(ages) for ages in (0, 0.25, 0.25, 3)] == [100, 25, 0, 100]


def test_what_is_booked_is_forgotten(redis: Redis) -> None:
    booking, limit = SharedBooking(redis.url), Limit(1, 3, "network", "192.0.2.0/24")
    with Client.from_url(redis.url) as client:
        booking.book([limit])
        assert client.keys()
        eventually(lambda: not client.keys(), "the key is gone")


def test_one_process_forgets_what_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailer.storage.rate_limits._KEPT_AT_MOST", 10)
    own = OwnBooking()
    for moment in range(100):
        monkeypatch.setattr(time, "time", lambda moment=moment: 1e9 + moment)
        own.book([Limit(1, 1, "network", str(moment))])
    assert len(own._free) <= 12
