"""Counts of the relay's answers, what it accepts in the long run, and what may be chance."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

ENOUGH = 20
"""Answers that a share is taken of: of fewer, chance decides."""
_FEW = 5
ALIKE = 2 / 3
"""Two shares are alike unless one is below this part of the other."""
_LONG_RUN_SECONDS = 120.0
_SECOND = 1.0


@dataclass(slots=True)
class AnswerCount:
    """What was answered and booked since `began`."""

    began: float = -inf
    answers: int = 0
    accepted: int = 0
    throttled: int = 0
    booked: int = 0
    turns: int = 0
    """How often an answer was of another kind than the one before: accepted, or throttled."""
    _accepted: bool = True

    def add(self, number: int, accepted: int, throttled: int, turns: int) -> None:
        """Add an answer, or a number of them with the turns between them."""
        self.answers += number
        self.accepted += accepted
        self.throttled += throttled
        self.turns += turns + ((accepted > 0) != self._accepted)
        self._accepted = accepted > 0

    @property
    def is_mixed(self) -> bool:
        """Whether the kinds take turns as by chance, and not some of one and then of the other."""
        return 2 * self.turns >= self.answers * self.share * (1 - self.share)

    @property
    def is_mostly_throttled(self) -> bool:
        """Whether at least half of a few answers were throttled: healthy recipients are not."""
        return self.throttled >= max(_FEW, self.accepted)

    @property
    def share(self) -> float:
        """The part of the answers that were throttled."""
        return self.throttled / self.answers

    def exceeds(self, expected: float, by: float) -> bool:
        """Tell whether more than the expected share was throttled, by more than chance."""
        others = (1 - expected) * self.answers
        # Next to a share of nearly 1, only those that were not throttled tell something.
        few = others >= ENOUGH and self.answers - self.throttled < others / 2
        return few or self.share > expected + by + self.by_chance(expected)

    def by_chance(self, share: float) -> float:
        """Return by how much a share may exceed the one it is of, by two standard deviations."""
        return 2 * sqrt(share * (1 - share) / self.answers)


@dataclass(slots=True)
class LongRun:
    """What was accepted in the last one or two minutes: at least a whole one of a relay's."""

    began: float = 0.0
    accepted: float = 0.0
    opened: bool = False
    """Whether it began when a relay that accepted nothing accepted again."""

    def add(self, accepted: int, now: float) -> None:
        """Add what was accepted since the last time."""
        self.accepted += accepted
        if now - self.began > 2 * _LONG_RUN_SECONDS:
            self.began, self.accepted = now, accepted
        elif now - self.began > _LONG_RUN_SECONDS:
            self.began, self.accepted = (now + self.began) / 2, self.accepted / 2

    def leave_out(self, pause: float, now: float) -> None:
        """Leave out the seconds until now, in which nothing was sent."""
        if pause > _LONG_RUN_SECONDS:
            self.began, self.accepted = now, 0.0
        else:
            self.began += pause

    def rate(self, now: float, accepted: int, least: float = _SECOND) -> float:
        """Return the messages accepted a second with those not yet added, in so long at least."""
        return (self.accepted + accepted) / max(least, now - self.began)


def alike(one: float, other: float) -> bool:
    """Tell whether two shares are nearly the same."""
    return min(one, other) >= ALIKE * max(one, other)
