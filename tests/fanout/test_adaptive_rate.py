"""The adaptive rate before relays that throttle and recipients who are greylisted.

All of it is arithmetic in a time that the tests make up: relays that count messages by a window or
fill a bucket, and 128 connections that send as fast as the rate lets them.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.fanout.answers.adaptive_rate import AdaptiveRate
from mailer.fanout.answers.rate_limiter import RateLimiter

RATES = st.floats(0.001, 100_000)
CONNECTIONS = 128
FULL_SPEED = 3_000
"""Messages a second that these connections send when nothing is held back."""


class Relay:
    """Takes so many messages a second, counted by windows of some seconds, and throttles more."""

    def __init__(self, rate: float, window: float, phase: float = 0.0) -> None:
        self.rate = rate
        self._window, self._phase = window, phase
        self._number, self._taken = -1, 0

    def takes(self, now: float) -> bool:
        number = int((now + self._phase) // self._window)
        if number != self._number:
            self._number, self._taken = number, 0
        self._taken += 1
        return self._taken <= self.rate * self._window


class Bucket(Relay):
    """Takes so many messages a second, and so many more at once after a rest."""

    def __init__(self, rate: float, burst: float) -> None:
        super().__init__(rate, 1.0)
        self._burst, self._tokens, self._at = burst, burst, 0.0

    def takes(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        taken = self._tokens >= 1
        self._tokens -= taken
        return taken


class Sender:
    """Connections that send to a relay at an adaptive rate; counts the answers of each second."""

    def __init__(
        self,
        relay: Relay,
        *,
        adaptive: AdaptiveRate | None = None,
        healthy: Callable[[int], bool] = lambda _number: True,
        changes: Iterable[tuple[float, float]] = (),
        seed: int = 1,
    ) -> None:
        self.relay = relay
        self.adaptive = adaptive or AdaptiveRate()
        self.now = 0.0
        self.accepted: list[int] = []
        self.throttled: list[int] = []
        self.full: list[bool] = []
        self._healthy, self._changes = healthy, list(changes)
        self._random = random.Random(seed)
        self._numbers, self._order = count(), count()
        self._due: list[tuple[float, int, int | None]] = []
        self._free, self._booking, self._answers = CONNECTIONS, False, 0

    def run(self, *, until: float = 100_000.0, answers: int = 10**9) -> None:
        """Send until a time, or until so many were answered."""
        self._send()
        while self._due and self._answers < answers:
            self.now, _, number = heapq.heappop(self._due)
            if self.now >= until:
                return
            while self._changes and self.now >= self._changes[0][0]:
                self.relay.rate = self._changes.pop(0)[1]
            if number is None:
                self._booking = False
                self._leave()
            else:
                self._answer(number)
            self._send()

    def share(self, first: int, last: int | None = None) -> float:
        """Return the throttled share of the answers of some seconds."""
        throttled = sum(self.throttled[first:last])
        return throttled / max(1, throttled + sum(self.accepted[first:last]))

    def _send(self) -> None:
        while self._free and not self._booking:
            seconds = self.adaptive.book(self.now)
            if seconds > 0:
                self._booking = True
                heapq.heappush(self._due, (self.now + seconds, next(self._order), None))
            else:
                self._leave()

    def _leave(self) -> None:
        self._free -= 1
        round_trip = CONNECTIONS / FULL_SPEED * (0.5 + self._random.random())
        item = (self.now + round_trip, next(self._order), next(self._numbers))
        heapq.heappush(self._due, item)

    def _answer(self, number: int) -> None:
        self._free += 1
        self._answers += 1
        accepted = self.relay.takes(self.now) and self._healthy(number)
        self.adaptive.answered(self.now, accepted=accepted, throttled=not accepted)
        while len(self.accepted) <= self.now:
            self.accepted.append(0)
            self.throttled.append(0)
            self.full.append(self.adaptive.rate is None)
        (self.accepted if accepted else self.throttled)[-1] += 1


@given(RATES, st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), max_size=50))
def test_a_rate_limiter_never_lets_more_through_than_its_rate(
    rate: float, asked: list[tuple[float, int]]
) -> None:
    limiter, now, booked = RateLimiter(rate, 0.0), 0.0, 0
    for pause, messages in asked:
        now += pause
        good_from = now + limiter.book(messages, now)
        # Until then, only what was booked before has left; then these, all at once.
        assert booked + messages <= (good_from + 0.1) * rate * (1 + 1e-9) + messages
        now, booked = good_from, booked + messages


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


@pytest.mark.parametrize(
    ("kind", "numbers", "seconds"),
    [
        (Relay, (20, 1), 600),
        (Relay, (20, 5), 600),
        (Relay, (20, 60), 600),
        (Bucket, (20, 40), 600),
        (Relay, (500, 1), 150),
        (Relay, (500, 5), 150),
        (Relay, (500, 60), 600),
        (Bucket, (500, 1_000), 150),
        # A minute of the relay's may begin at any moment.
        *((Relay, (0.5, 60, phase), 1_200) for phase in range(0, 60, 10)),
        (Bucket, (0.5, 5), 1_200),
    ],
)
def test_a_relay_that_throttles_gets_nearly_what_it_takes(
    kind: type[Relay], numbers: tuple[float, ...], seconds: int
) -> None:
    relay = kind(*numbers)
    sender = Sender(relay)
    sender.run(until=seconds)
    assert sum(sender.accepted) >= 0.85 * relay.rate * seconds
    assert sender.share(60) <= 0.05


@pytest.mark.parametrize(("kind", "number"), [(Relay, 2), (Bucket, 1)])
def test_a_relay_of_one_message_in_two_seconds_gets_most_of_what_it_takes(
    kind: type[Relay], number: int
) -> None:
    sender = Sender(kind(0.5, number))
    sender.run(until=1_200)
    assert sum(sender.accepted) >= 0.6 * 0.5 * 1_200
    assert sender.share(60) <= 0.1


@pytest.mark.parametrize(
    ("rate", "window", "half"), [(20, 1, 300), (20, 5, 300), (20, 60, 300), (500, 1, 75)]
)
def test_a_relay_that_takes_half_midway_is_followed(rate: int, window: int, half: int) -> None:
    sender = Sender(Relay(rate, window), changes=[(half, rate / 2)])
    sender.run(until=2 * half)
    assert sum(sender.accepted) >= 0.85 * rate * 1.5 * half
    assert sender.share(60) <= 0.05


@pytest.mark.parametrize(("rate", "window"), [(20, 1), (20, 5), (100, 1)])
def test_a_relay_that_takes_twice_as_much_gets_it_five_minutes_later(
    rate: int, window: int
) -> None:
    sender = Sender(Relay(rate, window), changes=[(200, 2 * rate)])
    sender.run(until=620)
    assert sum(sender.accepted[500:620]) >= 0.85 * 2 * rate * 120


@pytest.mark.parametrize("rate", [10, 20, 30, 100])
def test_a_relay_that_was_taken_for_slower_than_it_is_gets_nearly_all_it_takes(rate: int) -> None:
    """The first higher rate that it does not take shows how much it does."""
    adaptive = AdaptiveRate()
    adaptive.take_over(0.7 * rate, 0.0)
    sender = Sender(Relay(rate, 1), adaptive=adaptive)
    sender.run(until=60)
    assert sum(sender.accepted[20:60]) >= 0.85 * rate * 40


@pytest.mark.parametrize(("rate", "window"), [(20, 1), (20, 60), (500, 1)])
def test_full_speed_comes_back_when_the_throttling_ends(rate: int, window: int) -> None:
    sender = Sender(Relay(rate, window), changes=[(100, 10**9)])
    sender.run(until=300, answers=150_000)
    assert True in sender.full[100:]


@pytest.mark.parametrize("seconds", [1, 2, 3, 5])
def test_a_relay_that_was_overloaded_for_some_seconds_soon_gets_all_again(seconds: int) -> None:
    sender = Sender(Relay(10**9, 1), changes=[(5, 0), (5 + seconds, 10**9)])
    sender.run(until=60)
    assert sum(sender.accepted[40:60]) >= 0.95 * FULL_SPEED * 20


@pytest.mark.parametrize("greylisted", [0.05, 0.2, 0.5, 0.8])
def test_greylisted_recipients_do_not_delay_the_others(greylisted: float) -> None:
    draw = random.Random(1)
    healthy = [draw.random() >= greylisted for _ in range(30_200)]
    sender = Sender(Relay(10**9, 1), healthy=healthy.__getitem__)
    sender.run(answers=30_000)
    assert sender.now <= 1.3 * 30_000 / FULL_SPEED + 3


def test_recipients_who_are_all_greylisted_are_walked_through() -> None:
    sender = Sender(Relay(10**9, 1), healthy=lambda _number: False)
    sender.run(answers=30_000)
    assert sender.now <= 180


def test_one_recipient_in_twenty_who_is_greylisted_begins_no_experiment() -> None:
    draw = random.Random(1)
    sender = Sender(Relay(10**9, 1), healthy=lambda _number: draw.random() >= 0.05)
    sender.run(until=10)
    assert all(sender.full)


def test_a_real_throttle_is_found_though_half_of_the_recipients_are_greylisted() -> None:
    draw = random.Random(1)
    sender = Sender(Relay(200, 1), healthy=lambda _number: draw.random() >= 0.5)
    sender.run(until=120)
    assert not any(sender.full[2:])
    assert sum(sender.throttled[60:]) <= 0.7 * 3 * sum(sender.accepted[60:])


@pytest.mark.parametrize(("rate", "window"), [(20, 1), (200, 1), (200, 5)])
@pytest.mark.parametrize("greylisted", [0.5, 0.7, 0.8])
def test_a_throttle_and_many_who_are_greylisted_do_not_stop_the_others(
    rate: int, window: int, greylisted: float
) -> None:
    draw = random.Random(1)
    sender = Sender(Relay(rate, window), healthy=lambda _number: draw.random() >= greylisted)
    sender.run(until=300)
    assert sum(sender.accepted[60:]) >= 0.25 * rate * (1 - greylisted) * 240


def test_a_rate_that_holds_nothing_back_is_dropped() -> None:
    rates = {}
    for used in (300, 400, 600):
        adaptive = AdaptiveRate()
        adaptive.slow_start(0.0)
        for second, messages in enumerate([2**number for number in range(10)] + [used]):
            for number in range(1, messages + 1):
                adaptive.book(second + number / messages)
                adaptive.answered(second + number / messages, accepted=True, throttled=False)
        rates[used] = adaptive.rate
    assert rates == {300: None, 400: None, 600: 2048}, "half of 1,024 a second is the limit"


def test_after_a_pause_the_rate_is_not_taken_over_the_idle_time() -> None:
    adaptive = AdaptiveRate()
    for number in range(300):
        adaptive.answered(number / 1_000, accepted=number % 2 == 0, throttled=number % 2 == 1)
    adaptive.answered(300.0, accepted=False, throttled=True)
    assert adaptive.rate is None


def test_a_slow_start_doubles_from_one_a_second() -> None:
    adaptive = AdaptiveRate()
    adaptive.slow_start(0.0)
    assert adaptive.rate == 1
    assert adaptive.book(0.0) == 1
    rates = []
    for second in range(1, 5):
        adaptive.answered(float(second), accepted=True, throttled=False)
        rates.append(adaptive.rate)
    assert rates == [2, 4, 8, 16]


def test_a_slow_start_waits_where_the_relay_throttles() -> None:
    adaptive = AdaptiveRate()
    adaptive.slow_start(0.0)
    adaptive.answered(1.0, accepted=False, throttled=True)
    assert adaptive.rate == 1


def test_a_slow_start_soon_holds_nothing_back() -> None:
    adaptive = AdaptiveRate()
    adaptive.slow_start(0.0)
    sender = Sender(Relay(10**9, 1), adaptive=adaptive)
    sender.run(until=20)
    assert adaptive.rate is None


def test_a_relay_of_two_messages_a_second_that_takes_all_soon_gets_more() -> None:
    """Ten seconds have the twenty answers that tell something; at less it takes a minute."""
    adaptive = AdaptiveRate()
    adaptive.take_over(2.0, 0.0)
    sender = Sender(Relay(10**9, 1), adaptive=adaptive)
    sender.run(until=30)
    assert (adaptive.rate or FULL_SPEED) > 2


@pytest.mark.parametrize("limit", [0.01, 0.5, 1])
def test_a_limit_of_one_a_second_or_less_is_slow_enough(limit: float) -> None:
    adaptive = AdaptiveRate(limit)
    adaptive.slow_start(0.0)
    assert adaptive.rate is None
    assert adaptive.book(0.0) == 0


@given(st.floats(0.01, 10_000), st.integers(0, 1_000))
def test_the_rate_stays_below_the_limit_whatever_is_answered(limit: float, seed: int) -> None:
    adaptive, draw, now = AdaptiveRate(limit), random.Random(seed), 0.0
    for _ in range(200):
        now += draw.expovariate(10)
        accepted = draw.random() < draw.choice((0, 0.5, 1))
        adaptive.answered(now, accepted=accepted, throttled=not accepted)
        assert adaptive.rate is None or 0.1 <= adaptive.rate < limit
        assert adaptive.book(now) >= 0


def test_a_rate_is_known_to_be_good_after_twenty_answers_and_ten_seconds() -> None:
    """Then it is raised, and noted for processes that begin later; not before."""
    adaptive, known = AdaptiveRate(None), []
    adaptive.take_over(5.0, 0)
    for second in range(1, 11):
        for _ in range(2):
            known.append(adaptive.found)
            adaptive.answered(second, accepted=1, throttled=0)
    assert known == [None] * 20
    assert adaptive.found is not None
