"""Envelopes: which recipients of a batch were named to the relay, and have no answer yet."""

from __future__ import annotations

from dataclasses import dataclass

from mailer.fanout.answers.refusals import ReleaseAnswers


@dataclass(slots=True)
class Envelopes:
    """The envelope that is being answered, and the one that left with the dot before it.

    Each has a number among all that this process has written for the release.
    """

    answers: ReleaseAnswers
    named: int = 0
    """How many recipients were named since the state of the release was read."""
    _current: int | None = None
    _ahead: int | None = None

    @property
    def is_ahead(self) -> bool:
        """Whether the envelope of the following message has left already."""
        return self._ahead is not None

    @property
    def unanswered(self) -> int:
        """How many have no answer yet."""
        return sum(one is not None for one in (self._current, self._ahead))

    def write(self) -> None:
        """Count an envelope that is being written now."""
        self.named += 1
        self._current = self.answers.write()

    def write_ahead(self) -> None:
        """Count the envelope of the following message, which leaves with a dot."""
        self.named += 1
        self._ahead = self.answers.write()

    def go_on(self) -> None:
        """Go on to the following message, whose envelope may have left already."""
        self._current, self._ahead = self._ahead, None

    def answered(self) -> int | None:
        """Return the number of the one that is answered now; None if it was lost before."""
        number, self._current = self._current, None
        return number

    def sender_refused(self, *, permanent: bool, rested: bool) -> bool:
        """Count a refusal at MAIL; True if the batches of the release have to rest for it."""
        number = self.answered()
        return number is not None and self.answers.sender_refused(
            number, permanent=permanent, rested=rested
        )

    def lost(self, *, after_dot: bool) -> None:
        """Count those that get no answer any more."""
        for number, dot_written in ((self._current, after_dot), (self._ahead, False)):
            if number is not None:
                self.answers.lost(number, after_dot=dot_written)
        self._current = self._ahead = None
