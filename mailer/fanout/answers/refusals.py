"""The answers of one release in one process, and which refusals other answers speak for.

A permanent refusal may be about us or the relay. It is believed once the relay is shown to be well
by an acceptance whose RCPT was written after the refusal was read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

from mailer.fanout.answers.replies import Kind

MANY_IN_A_ROW = 5
"""RCPTs written one after another: a relay that is broken for a moment refuses just so many."""
_SENDER_REFUSALS = 10
"""Refusals at MAIL in a row, after which the batches of the release rest."""
_TAKEN_SECONDS = 70.0
"""A relay that accepted something this short ago takes the sender: some count by the minute."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A permanent refusal that nothing has spoken for yet."""

    number: int
    last_written: int
    """The number of the last envelope that had been written when it was read."""
    subscription_id: int


@dataclass(slots=True)
class ReleaseAnswers:
    """What the relay answered to one release in this process, whose envelopes are numbered."""

    sender_refusals: int = 0
    """How often MAIL was refused, one time after another."""
    unanswered: int = 0
    """How many dots were not answered since the last acceptance."""
    _last: int = 0
    _in_flight: set[int] = field(default_factory=set)
    _refused: set[int] = field(default_factory=set)
    """Numbers of refused envelopes, as far back as another refusal has still to be judged."""
    _doubted: dict[int, Refusal] = field(default_factory=dict)
    _accepted: int = 0
    """The highest number that was accepted."""
    _accepted_at: float = -inf
    _sender_refused: int = 0
    """The last number that had been written when MAIL was refused."""
    _settled: asyncio.Event | None = None

    def write(self) -> int:
        """Count an envelope that is being written now, and return its number."""
        self._last += 1
        self._in_flight.add(self._last)
        return self._last

    def note(self, number: int, kind: Kind, subscription_id: int) -> None:
        """Count what became of an envelope."""
        if kind == "accepted":
            self.accepted(number)
        elif kind == "doubted":
            self.refused(number, subscription_id)
        else:
            self.answered(number)

    def accepted(self, number: int) -> None:
        """Count an acceptance."""
        self._end(number)
        self._accepted, self._accepted_at = max(self._accepted, number), time.monotonic()
        self.sender_refusals = self.unanswered = 0

    def refused(self, number: int, subscription_id: int) -> None:
        """Count a permanent refusal, which was read now."""
        self.answered(number)
        self._refused.add(number)
        self._doubted[number] = Refusal(number, self._last, subscription_id)

    def answered(self, number: int) -> None:
        """Count any other answer to a recipient or a message; the relay took the sender."""
        self._end(number)
        self.sender_refusals = 0

    def lost(self, number: int, *, after_dot: bool = False) -> None:
        """Count an envelope that got no answer, and whether its dot had been written."""
        self._end(number)
        self.unanswered += after_dot

    @property
    def may_be_throttled(self) -> bool:
        """Whether the relay took a message of this release short ago, and so its sender, too."""
        return time.monotonic() - self._accepted_at <= _TAKEN_SECONDS

    def sender_refused(self, number: int, *, permanent: bool, rested: bool) -> bool:
        """Count a refusal at MAIL; True if the batches of the release have to rest for it.

        Many connections that are refused at the same time count once. A release that has `rested`
        already is not given ten tries. A temporary refusal short after an acceptance is a throttle.
        """
        self._end(number)
        if number > self._sender_refused:
            self.sender_refusals += 1
            self._sender_refused = self._last
        if not permanent and self.may_be_throttled:
            return False
        return self.sender_refusals >= (1 if rested else _SENDER_REFUSALS)

    async def settled(self, at_most: float) -> None:
        """Wait until every envelope is answered, at most for some seconds."""
        if self._in_flight:
            self._settled = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(at_most):
                    await self._settled.wait()

    def judge(self) -> tuple[Sequence[int], Sequence[int]]:
        """Return whose refusals an acceptance speaks for, and whose it only marks, once each.

        Marked are those of five or more envelopes that were written one after another.
        """
        if not self._doubted:
            return (), ()
        believed: list[int] = []
        marked: list[int] = []
        for refusal in list(self._doubted.values()):
            if refusal.last_written >= self._accepted:
                continue
            in_a_row = self._is_one_of_many(refusal.number)
            if in_a_row is None:
                continue
            (marked if in_a_row else believed).append(refusal.subscription_id)
            del self._doubted[refusal.number]
        if self._refused and (believed or marked):
            self._forget()
        return believed, marked

    def _end(self, number: int) -> None:
        self._in_flight.discard(number)
        if self._settled is not None and not self._in_flight:
            self._settled.set()

    def _is_one_of_many(self, number: int) -> bool | None:
        """Tell whether five in a row with this one were refused; None while one is in flight."""
        undecided = False
        for first in range(number - MANY_IN_A_ROW + 1, number + 1):
            five = range(first, first + MANY_IN_A_ROW)
            if all(one in self._refused for one in five):
                return True
            undecided |= all(
                one in self._refused or one in self._in_flight or one > self._last for one in five
            )
        return None if undecided else False

    def _forget(self) -> None:
        """Drop numbers that cannot be in a row any more with one that has still to be judged."""
        kept = min((*self._doubted, *self._in_flight, self._last + 1)) - MANY_IN_A_ROW
        self._refused = {one for one in self._refused if one > kept}
