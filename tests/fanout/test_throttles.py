"""Relays that take so many messages a second, on the virtual clock: what they get, and refuse.

Without Redis: of two processes the first that holds messages back sets the rate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.support.scripted_relay import Answer, Stage
from tests.support.sending import Playing, Sending, people
from tests.support.virtual_time import VirtualClock

FIRST_MINUTE = 60.0
TOO_MUCH = "450 4.7.1 Too much"
RATES = {
    "20 a second": (20, 1.0, 120),
    "50 in 5 seconds": (50, 5.0, 180),
    "30 a minute": (30, 60.0, 1_200),
}
"""How many in how many seconds, and for how long to watch."""
KINDS: list[tuple[Stage, str, str]] = [
    ("mail", "451 4.7.500 Server busy", "20 a second"),
    ("mail", "421 4.7.0 Too fast", "20 a second"),
    ("rcpt", "454 4.7.0 Rate exceeded", "20 a second"),
    ("rcpt", "421 4.7.0 Too fast", "20 a second"),
    ("dot", "452 4.5.3 Too many", "20 a second"),
    ("mail", TOO_MUCH, "50 in 5 seconds"),
    ("rcpt", TOO_MUCH, "50 in 5 seconds"),
    ("mail", TOO_MUCH, "30 a minute"),
    ("rcpt", TOO_MUCH, "30 a minute"),
]


def steady(number: float) -> Callable[[float], float]:
    """Take so many in each window."""
    return lambda _seconds: number


@dataclass
class Throttle:
    """Takes so many messages in a window of some seconds, and refuses more at one stage."""

    stage: Stage
    reply: str
    takes: Callable[[float], float]
    """How many in a window that begins so many seconds after the release."""
    window: float = 1.0
    passed: float = 0.0
    """How many seconds of the first window have passed at the release."""
    sick: Callable[[str], bool] = lambda _: False
    """Whom the relay puts off for a reason of their own, with the same reply at RCPT."""
    clock: VirtualClock | None = None
    refused: list[float] = field(default_factory=list)
    _begin: float = 0.0
    _number: int = -1
    _taken: int = 0

    def watch(self, clock: VirtualClock) -> None:
        self.clock, self._begin = clock, clock.seconds

    @property
    def seconds(self) -> float:
        """Seconds since the release."""
        return self.clock.seconds - self._begin if self.clock else 0.0

    def __call__(self, stage: Stage, recipient: str, _number: int) -> Answer | None:
        if self.clock is None:
            return None
        if stage == "rcpt" and self.sick(recipient):
            return Answer(self.reply)
        if stage != self.stage:
            return None
        if (number := int((self.seconds + self.passed) // self.window)) != self._number:
            self._number, self._taken = number, 0
        self._taken += 1
        if self._taken <= self.takes(number * self.window - self.passed):
            return None
        self.refused.append(self.seconds)
        return Answer(self.reply)


async def throttle(
    sending: Sending, relay: Throttle, *, since: float, until: float
) -> tuple[float, float]:
    """Let a release go out through a throttle, and watch it between two seconds.

    Returns the messages accepted, as a part of what the relay would take, and the throttle's part
    of its answers.
    """
    began = sending.world.clock.seconds
    relay.watch(sending.world.clock)
    await asyncio.sleep(until)
    accepted = sum(one.at - began >= since for one in sending.relay.taken)
    refused = sum(at >= since for at in relay.refused)
    windows = range(int(since // relay.window), int(until // relay.window))
    taken = sum(relay.takes(number * relay.window) for number in windows)
    return accepted / taken, refused / max(1, accepted + refused)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "kind"),
    [(workers, kind) for workers in (1, 2) for kind in KINDS],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_throttle_gets_nearly_what_it_takes_and_refuses_little(
    playing: Playing, workers: int, kind: tuple[Stage, str, str]
) -> None:
    stage, reply, rate = kind
    number, window, watched = RATES[rate]
    throttled = Throttle(stage, reply, steady(number), window)

    async def story(sending: Sending) -> None:
        since, until = FIRST_MINUTE, FIRST_MINUTE + watched
        got, refused = await throttle(sending, throttled, since=since, until=until)
        assert got >= 0.85
        assert refused <= 0.05

    # Besides, as many as can be refused before the throttle is found.
    followers = people(int(1.1 * number / window * (FIRST_MINUTE + watched)) + 2_000)
    playing(throttled, followers, story, workers)


def test_the_next_release_begins_at_the_rate_that_the_last_one_has_found(playing: Playing) -> None:
    relay = Throttle("rcpt", TOO_MUCH, steady(20))

    async def story(sending: Sending) -> None:
        relay.watch(sending.world.clock)
        receipt = await sending.until_at_rest(1)
        assert (receipt.state, receipt.accepted) == ("done", 600)
        relay.refused.clear()
        sending.room.publish(reference="next")
        accepted = len(sending.relay.taken)
        await asyncio.sleep(10)
        assert len(sending.relay.taken) - accepted >= 0.7 * 20 * 10
        assert len(relay.refused) <= 0.05 * 20 * 10

    playing(relay, people(600), story)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["mail", "rcpt", "dot"])
@pytest.mark.parametrize("passed", [15, 30, 45])
def test_a_release_in_the_middle_of_a_relays_minute_does_not_mislead_about_it(
    playing: Playing, passed: int, stage: Stage
) -> None:
    relay = Throttle(stage, TOO_MUCH, steady(30), 60.0, passed)

    async def story(sending: Sending) -> None:
        got, refused = await throttle(sending, relay, since=FIRST_MINUTE, until=660)
        assert got >= 0.85
        assert refused <= 0.05

    playing(relay, people(1_000), story)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "dot"])
def test_a_relay_of_one_message_in_two_seconds_gets_most_of_what_it_takes(
    playing: Playing, stage: Stage, workers: int
) -> None:
    relay = Throttle(stage, TOO_MUCH, steady(1), 2.0)

    async def story(sending: Sending) -> None:
        got, refused = await throttle(sending, relay, since=FIRST_MINUTE, until=660)
        assert got >= 0.6
        assert refused <= 0.1

    playing(relay, people(500), story, workers)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_another_process_goes_on_where_the_one_that_sets_the_rate_is_killed(
    playing: Playing, workers: int
) -> None:
    relay = Throttle("rcpt", TOO_MUCH, steady(20))

    async def story(sending: Sending) -> None:
        relay.watch(sending.world.clock)
        for killed in range(workers - 1):
            await asyncio.sleep(60)
            while not (connected := list(filter(sending.world.connections, sending.world.workers))):
                await asyncio.sleep(1)
            sending.world.kill(connected[0])
            sending.world.start_worker()
            # A lease, and a sweep that wakes another.
            await asyncio.sleep(sending.room.settings.lease_seconds + 10)
            accepted = len(sending.relay.taken)
            await asyncio.sleep(60)
            assert len(sending.relay.taken) - accepted >= 0.7 * 20 * 60, killed
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted) == ("done", 6_000)

    playing(relay, people(6_000), story, workers)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["mail", "rcpt"])
@pytest.mark.parametrize(
    ("first", "later", "since", "until"),
    # Half is followed at once; twice as much has been found five minutes later.
    [(20, 10, 60, 300), (10, 20, 420, 540)],
)
def test_a_relay_that_takes_another_number_midway_is_followed(
    playing: Playing, stage: Stage, first: int, later: int, since: int, until: int
) -> None:
    relay = Throttle(stage, TOO_MUCH, lambda seconds: first if seconds < 120 else later)

    async def story(sending: Sending) -> None:
        got, refused = await throttle(sending, relay, since=since, until=until)
        assert got >= 0.85
        assert refused <= 0.05

    playing(relay, people(10_000), story)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["mail", "rcpt"])
def test_a_quota_that_is_used_up_for_hours_is_not_hammered(playing: Playing, stage: Stage) -> None:
    relay = Throttle(stage, TOO_MUCH, lambda hours: 300 if hours == 0 else 10_000, 6 * 3600)

    async def story(sending: Sending) -> None:
        await throttle(sending, relay, since=0, until=6 * 3600)
        # One message in ten seconds is always tried.
        assert len(relay.refused) <= 6 * 3600 / 10
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted) == ("done", 2_000)

    playing(relay, people(2_000), story)
