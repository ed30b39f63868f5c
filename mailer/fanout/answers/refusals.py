"""The answers of one release in one process, and which refusals other answers speak for.

A permanent refusal may be about us or the relay. It is believed once the relay is shown to be well
by an acceptance whose RCPT was written after the refusal was read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from mailer.fanout.answers.replies import Kind

MANY_IN_A_ROW = 5
"""RCPTs written one after another: a relay that is broken for a moment refuses just so many."""

_moments = count(1)


class Written(NamedTuple):
    """An envelope that was written: its number in the release, and the moment."""

    number: int
    moment: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A permanent refusal that nothing has spoken for yet."""

    number: int
    read: int
    subscription_id: int


@dataclass(slots=True)
class ReleaseAnswers:
    """What the relay answered to one release in this process; moments are counted, not timed."""

    sender_refusals: int = 0
    """How often MAIL was refused, one time after another."""
    unanswered: int = 0
    """How many dots in a row were not answered."""
    _next: int = 0
    _in_flight: set[int] = field(default_factory=set)
    _refused: set[int] = field(default_factory=set)
    """Numbers of refused envelopes, as far back as another refusal has still to be judged."""
    _doubted: dict[int, Refusal] = field(default_factory=dict)
    _accepted: int = 0
    """The latest moment at which an envelope was written that was accepted later."""
    _sender_refused: int = 0
    _settled: asyncio.Event | None = None

    def write(self) -> Written:
        """Count an envelope that is being written now."""
        self._next += 1
        self._in_flight.add(self._next)
        return Written(self._next, next(_moments))

    def note(self, written: Written, kind: Kind, subscription_id: int) -> None:
        """Count what became of an envelope."""
        if kind == "accepted":
            self.accepted(written)
        elif kind == "doubted":
            self.refused(written, subscription_id)
        else:
            self.answered(written)

    def accepted(self, written: Written) -> None:
        """Count an acceptance."""
        self._end(written)
        self._accepted = max(self._accepted, written.moment)
        self.sender_refusals = self.unanswered = 0

    def refused(self, written: Written, subscription_id: int) -> None:
        """Count a permanent refusal, which was read now."""
        self.answered(written)
        self._refused.add(written.number)
        self._doubted[written.number] = Refusal(written.number, next(_moments), subscription_id)

    def answered(self, written: Written) -> None:
        """Count any other answer to a recipient or a message; the relay took the sender."""
        self._end(written)
        self.sender_refusals = self.unanswered = 0

    def lost(self, written: Written, *, after_dot: bool = False) -> None:
        """Count an envelope that got no answer, and whether its dot had been written."""
        self._end(written)
        self.unanswered += after_dot

    def sender_refused(self, written: Written) -> int:
        """Count a refusal at MAIL; returns how many came one after another.

        Many connections that are refused at the same time count once.
        """
        self._end(written)
        if written.moment > self._sender_refused:
            self.sender_refusals += 1
            self._sender_refused = next(_moments)
        return self.sender_refusals

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
            if refusal.read >= self._accepted:
                continue
            in_a_row = self._is_one_of_many(refusal.number)
            if in_a_row is None:
                continue
            (marked if in_a_row else believed).append(refusal.subscription_id)
            del self._doubted[refusal.number]
        if self._refused and (believed or marked):
            self._forget()
        return believed, marked

    def _end(self, written: Written) -> None:
        self._in_flight.discard(written.number)
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
                one in self._refused or one in self._in_flight or one > self._next for one in five
            )
        return None if undecided else False

    def _forget(self) -> None:
        """Drop numbers that cannot be in a row any more with one that has still to be judged."""
        kept = min((*self._doubted, *self._in_flight, self._next + 1)) - MANY_IN_A_ROW
        self._refused = {one for one in self._refused if one > kept}
