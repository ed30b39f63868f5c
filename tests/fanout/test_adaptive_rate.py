"""The adaptive rate alone: pure arithmetic in a time that the tests make up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.fanout.send_rate import AdaptiveRate, RateLimiter

RATES = st.floats(0.001, 100_000)


def send(adaptive: AdaptiveRate, seconds: float, now: float, fastest: float) -> tuple[float, int]:
    """Send as fast as both allow, all accepted; returns the time and the number of messages."""
    end, sent = now + seconds, 0
    while now < end:
        now += max(1 / fastest, adaptive.book(now))
        adaptive.accepted(now)
        sent += 1
    return now, sent


@given(RATES, st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), max_size=50))
def test_a_rate_limiter_never_lets_more_through_than_its_rate(
    rate: float, asked: list[tuple[float, int]]
) -> None:
    limiter, now, booked = RateLimiter(rate, 0.0), 0.0, 0
    for pause, count in asked:
        now += pause
        good_from = now + limiter.book(count, now)
        # Until then, only what was booked before has left; then these, all at once.
        assert booked + count <= (good_from + 0.1) * rate * (1 + 1e-9) + count
        now, booked = good_from, booked + count


@given(RATES)
def test_a_rate_limiter_wastes_nothing_when_asked_again_and_again(rate: float) -> None:
    limiter, now = RateLimiter(rate, 0.0), 0.0
    for _ in range(100):
        now += limiter.book(1, now)
    assert now == pytest.approx(100 / rate)


def test_a_rate_limiter_gives_no_permits_for_an_idle_time() -> None:
    limiter = RateLimiter(10, 0.0)
    assert limiter.book(1, 1_000.0) == 0
    assert limiter.book(1, 1_000.0) == 0
    assert limiter.book(1, 1_000.0) == pytest.approx(0.1)


@pytest.mark.parametrize("speed", [10, 400, 5_000])
def test_slowing_down_halves_the_present_speed(speed: int) -> None:
    adaptive = AdaptiveRate()
    now, _ = send(adaptive, 10, 0.0, speed)
    adaptive.slow_down(now)
    assert adaptive.rate == pytest.approx(speed / 2, rel=0.05)


def test_many_complaints_within_a_second_are_one() -> None:
    adaptive = AdaptiveRate()
    now, _ = send(adaptive, 10, 0.0, 400)
    for hundredths in range(100):
        adaptive.slow_down(now + hundredths / 100)
    assert adaptive.rate == pytest.approx(200, rel=0.05)


def test_each_second_with_complaints_halves_again_down_to_one_a_second() -> None:
    adaptive = AdaptiveRate()
    now, _ = send(adaptive, 10, 0.0, 400)
    rates = []
    for second in range(12):
        adaptive.slow_down(now + second)
        rates.append(adaptive.rate)
    assert rates[:3] == [pytest.approx(rate, rel=0.05) for rate in (200, 100, 50)]
    assert rates[-1] == 1


def test_a_relay_that_complains_from_the_start_is_tried_once_a_second() -> None:
    adaptive = AdaptiveRate()
    adaptive.slow_down(0.0)
    assert adaptive.rate == 1
    assert adaptive.book(0.0) == 1


@pytest.mark.parametrize("limit", [0.01, 0.5, 1])
def test_a_limit_of_one_a_second_or_less_is_slow_enough(limit: float) -> None:
    adaptive = AdaptiveRate(limit)
    adaptive.slow_down(0.0)
    assert adaptive.rate is None


def test_half_the_speed_is_half_the_messages() -> None:
    adaptive = AdaptiveRate()
    now, _ = send(adaptive, 10, 0.0, 1_000)
    adaptive.slow_down(now)
    _, sent = send(adaptive, 1, now, 1_000)
    assert 450 < sent < 650


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3_000), st.integers(1, 12))
def test_about_a_minute_of_good_answers_restores_the_rate(speed: int, complaints: int) -> None:
    adaptive = AdaptiveRate()
    now, _ = send(adaptive, 6, 0.0, speed)
    for _ in range(complaints):
        adaptive.slow_down(now)
        now += 1
    send(adaptive, 70, now, speed)
    assert adaptive.rate is None
    assert adaptive.book(now) == 0


def test_the_rate_is_not_restored_at_once() -> None:
    adaptive = AdaptiveRate()
    now, _ = send(adaptive, 10, 0.0, 400)
    adaptive.slow_down(now)
    send(adaptive, 2, now, 400)
    assert adaptive.rate is not None


def test_an_adaptive_rate_that_reaches_the_limit_holds_nothing_back() -> None:
    adaptive = AdaptiveRate(limit=20)
    now, _ = send(adaptive, 10, 0.0, 20)
    adaptive.slow_down(now)
    while adaptive.rate is not None:
        assert adaptive.rate < 20
        now, _ = send(adaptive, 0.1, now, 20)
