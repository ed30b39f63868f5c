"""The brake by itself: pure arithmetic in a time that the tests make up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.fanout.send_rate import AdaptiveRate, RateLimiter

RATES = st.floats(0.001, 100_000)


def send(brake: AdaptiveRate, seconds: float, now: float, fastest: float) -> tuple[float, int]:
    """Send as fast as the brake and the relay let us, all accepted; give the time and how many."""
    end, sent = now + seconds, 0
    while now < end:
        now += max(1 / fastest, brake.book(now))
        brake.accepted(now)
        sent += 1
    return now, sent


@given(RATES, st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), max_size=50))
def test_a_turnstile_never_lets_more_through_than_its_rate(
    rate: float, asked: list[tuple[float, int]]
) -> None:
    turnstile, now, booked = RateLimiter(rate, 0.0), 0.0, 0
    for pause, count in asked:
        now += pause
        good_from = now + turnstile.book(count, now)
        # Until then, only what was booked before has left; then these, all at once.
        assert booked + count <= (good_from + 0.1) * rate * (1 + 1e-9) + count
        now, booked = good_from, booked + count


@given(RATES)
def test_a_turnstile_wastes_nothing_when_asked_again_and_again(rate: float) -> None:
    turnstile, now = RateLimiter(rate, 0.0), 0.0
    for _ in range(100):
        now += turnstile.book(1, now)
    assert now == pytest.approx(100 / rate)


def test_a_turnstile_owes_nothing_for_a_time_when_nobody_came() -> None:
    turnstile = RateLimiter(10, 0.0)
    assert turnstile.book(1, 1_000.0) == 0
    assert turnstile.book(1, 1_000.0) == 0
    assert turnstile.book(1, 1_000.0) == pytest.approx(0.1)


@pytest.mark.parametrize("speed", [10, 400, 5_000])
def test_a_pressed_brake_halves_the_present_speed(speed: int) -> None:
    brake = AdaptiveRate()
    now, _ = send(brake, 10, 0.0, speed)
    brake.slow_down(now)
    assert brake.rate == pytest.approx(speed / 2, rel=0.05)


def test_many_complaints_within_a_second_are_one() -> None:
    brake = AdaptiveRate()
    now, _ = send(brake, 10, 0.0, 400)
    for hundredths in range(100):
        brake.slow_down(now + hundredths / 100)
    assert brake.rate == pytest.approx(200, rel=0.05)


def test_each_second_with_complaints_halves_again_down_to_one_a_second() -> None:
    brake = AdaptiveRate()
    now, _ = send(brake, 10, 0.0, 400)
    rates = []
    for second in range(12):
        brake.slow_down(now + second)
        rates.append(brake.rate)
    assert rates[:3] == [pytest.approx(rate, rel=0.05) for rate in (200, 100, 50)]
    assert rates[-1] == 1


def test_a_relay_that_complains_from_the_start_is_tried_once_a_second() -> None:
    brake = AdaptiveRate()
    brake.slow_down(0.0)
    assert brake.rate == 1
    assert brake.book(0.0) == 1


@pytest.mark.parametrize("limit", [0.01, 0.5, 1])
def test_a_limit_of_one_a_second_or_less_is_slow_enough(limit: float) -> None:
    brake = AdaptiveRate(limit)
    brake.slow_down(0.0)
    assert brake.rate is None


def test_half_the_speed_is_half_the_messages() -> None:
    brake = AdaptiveRate()
    now, _ = send(brake, 10, 0.0, 1_000)
    brake.slow_down(now)
    _, sent = send(brake, 1, now, 1_000)
    assert 450 < sent < 650


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3_000), st.integers(1, 12))
def test_about_a_minute_of_good_answers_releases_the_brake(speed: int, complaints: int) -> None:
    brake = AdaptiveRate()
    now, _ = send(brake, 6, 0.0, speed)
    for _ in range(complaints):
        brake.slow_down(now)
        now += 1
    send(brake, 70, now, speed)
    assert brake.rate is None
    assert brake.book(now) == 0


def test_the_brake_is_not_released_at_once() -> None:
    brake = AdaptiveRate()
    now, _ = send(brake, 10, 0.0, 400)
    brake.slow_down(now)
    send(brake, 2, now, 400)
    assert brake.rate is not None


def test_a_brake_that_reaches_the_limit_holds_nothing_back() -> None:
    brake = AdaptiveRate(limit=20)
    now, _ = send(brake, 10, 0.0, 20)
    brake.slow_down(now)
    while brake.rate is not None:
        assert brake.rate < 20
        now, _ = send(brake, 0.1, now, 20)
