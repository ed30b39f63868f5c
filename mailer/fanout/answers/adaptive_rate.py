"""The adaptive rate: how fast to send, because of what the relay answers; pure arithmetic.

A refusal such as 451 does not tell whether the relay throttles or the recipient is greylisted. Only
an experiment does: if fewer are refused when we send more slowly, the relay throttles, and we stay
just below what it takes; if not, the recipients are the reason, and slowness helps no recipient.
"""

from __future__ import annotations

from math import inf
from typing import Literal

from mailer.fanout.answers.answer_count import ALIKE, ENOUGH, AnswerCount, LongRun, alike
from mailer.fanout.answers.rate_limiter import RateLimiter

_SUSPICIOUS = 1 / 5
"""The share of throttled answers, above the expected one, that begins an experiment."""
_RISEN = 1 / 30
"""The share above the expected one that ends the trial of a rate."""
_SLOWER = 0.7
"""An experiment's part of the accepted rate: low enough that a throttle has nothing to refuse."""
_FALL = 1 / 4
"""What stays of the rate at least at one step, and where nothing is accepted."""
JUST_BELOW = 0.95
_FAST = 2.0
"""Messages a second from which a trial of ten seconds tells something: else it takes a minute."""
_FIRST_RAISES, _FIRST_SLOW_RAISES, _LATER_RAISES = (1.5, 3), (1.07, 2), (1.05, 9)
"""By how much, and how often before the rate doubles each second; until one fails, more boldly."""
_LOWEST = 0.1
"""Messages a second that are always tried, or the end of the throttling would not be noticed."""
_SLOW_START, _WHILE_BLOCKED = 1.0, 0.2
_SECOND = 1.0
"""Also how long answers to messages that left at a higher rate still come, and do not count."""
_EXPERIMENT_SECONDS, _TRIAL_SECONDS, _LONGEST_SECONDS = 3.0, 10.0, 20.0
"""A slow relay gives no 20 answers in a useful time: after the longest, fewer are enough."""
_WAIT_SECONDS, _SLOW_WAIT_SECONDS = (10.0, 80.0), (60.0, 480.0)
"""How long a rate is held before raises: at first, and at most, after failed ones; a slow one."""
_TRUST_SECONDS = 60.0, 960.0
"""How long the recipients are taken as the reason without a new experiment: first, and at most."""
_SILENT_SECONDS = 70.0
"""A relay that counts by the minute accepts something within this time."""
_FEW_SECONDS, _MINUTE = 10.0, 60.0
"""A relay that accepts nothing for longer than a few seconds counts by the minute at least."""
_SERIES_SECONDS = 240.0
"""Experiments one after another tell nothing new after this time."""
_PAUSE_SECONDS = 5.0
"""A longer time without answers was a pause of ours, and no relay's rate."""


class AdaptiveRate:
    """Finds out by experiments whether the relay throttles, and how much it takes."""

    def __init__(self, limit: float | None = None) -> None:
        self.rate: float | None = None
        """Messages a second while held back; None while nothing is held back."""
        self.found: float | None = None
        """What an experiment has found, until a higher rate proves to be good; else None."""
        self._highest = limit or inf
        self._limiter: RateLimiter | None = None
        self.phase: Literal["full", "experiment", "hold", "rise"] = "full"
        self._count, self._ends, self._settling = AnswerCount(), -inf, False
        self._long_run, self._last_accepted, self._blocked = LongRun(), 0.0, False
        # The throttled share that is laid to the recipients, and until when.
        self._expected, self._trust_ends, self._trust = 0.0, -inf, _TRUST_SECONDS[0]
        # Experiments: the share before, the rate to return to, and how many more have to agree.
        self._series, self._before, self._return_to, self._needed = 0.0, 0.0, 0.0, 1
        # Of a rate that is held: the answers of this trial, its raises, and whether one failed.
        self._trial, self._raises, self._failed = AnswerCount(), 0, False
        self._raise_at, self._wait, self._is_fast = 0.0, _WAIT_SECONDS[0], True

    def answered(
        self, now: float, *, accepted: int, throttled: int, number: int = 1, turns: int = 0
    ) -> None:
        """Count the answer to a message, or to a number of them with the turns between them."""
        self._count.add(number, accepted, throttled, turns)
        if accepted and self._blocked and (now >= self._ends or not self._settling):
            self._reopen(now)
        if now >= self._ends:
            self._conclude(now)

    def count_booked(self, number: int) -> None:
        """Count messages that left by a permit of another limiter, at the same rate."""
        self._count.booked += number

    def count_others(self, accepted: int, now: float) -> None:
        """Count what the relay accepted of processes that send nothing more from now on."""
        self._return_to *= 1 + accepted / max(1.0, self._long_run.accepted + self._count.accepted)
        self._long_run.add(accepted, now)

    def take_over(self, rate: float, now: float, *, rising: bool = False) -> None:
        """Begin at a rate that another process has found, or was on its way up at."""
        self._return_to = rate
        if rising:
            self._enter("rise", rate, now)
        else:
            self._hold(now)
            self.found = None

    def slow_start(self, now: float) -> None:
        """Begin at one message a second after a relay backoff, and rise from there."""
        self._expected, self._raises = 0.0, 0
        self._enter("rise", _SLOW_START, now)
        self._long_run = LongRun(now)

    def is_free(self, now: float) -> bool:
        """Tell whether the next message may leave now."""
        return self._limiter is None or self._limiter.is_free(now)

    def book(self, now: float) -> float:
        """Book the next message; returns the seconds until it may leave, 0 for now."""
        self._count.booked += 1
        return 0.0 if self._limiter is None else self._limiter.book(1, now)

    def _conclude(self, now: float) -> None:
        """Draw a conclusion if there are enough answers for one."""
        pause = now - self._ends
        if pause > _PAUSE_SECONDS + 2 / (self.rate or inf):
            # Nothing was sent meanwhile: a rate taken over this time would be wrong.
            self._long_run.leave_out(pause, now)
            self._begin(now)
        elif self._settling:
            self._settling = False
            self._begin(now, _SECOND if self._blocked else _EXPERIMENT_SECONDS)
        elif self.phase == "full":
            self._watch(now)
        elif self.phase == "rise":
            self._go_on_rising(now)
        elif self.phase == "hold":
            self._end_trial(now)
        else:
            self._end_experiment(now)

    def _watch(self, now: float) -> None:
        """Watch at full speed whether many are throttled."""
        expected = self._expected if now < self._trust_ends else 0.0
        count = self._count
        if count.answers < ENOUGH:
            self._ends = now
        elif not self._long_run.rate(now, count.accepted):
            self._begin(now)
        elif count.exceeds(expected, _SUSPICIOUS + count.by_chance(_SUSPICIOUS)):
            self._experiment(now)
        else:
            self._begin(now)

    def _experiment(self, now: float) -> None:
        """Go slower, to see whether a smaller share is throttled then."""
        count, present = self._count, self.rate or 0.0
        accepted_rate = count.accepted / (now - count.began)
        self._before = count.share
        if self.phase != "experiment":
            self._series = self._last_accepted = now
            # A relay that takes some, and refuses the next, may do so once more by chance.
            self._needed = 1 if self.phase == "full" and count.is_mixed else 2
        known = self._return_to if self._raises and self.phase != "experiment" else accepted_rate
        brief = self.phase == "hold" and now < count.began + _EXPERIMENT_SECONDS
        long_run = self._long_run.rate(now, count.accepted)
        self._return_to = max(known, JUST_BELOW * long_run, self._return_to / 2 if brief else 0.0)
        if count.accepted or not present:
            self.phase, self._blocked, self._settling = "experiment", False, True
            self._set(max(_SLOWER * accepted_rate, _FALL * (present or long_run)), now)
            self._begin(now, _SECOND)
        elif not self._blocked:
            self._wait_for_acceptance(now)
        else:
            self._begin(now)

    def _wait_for_acceptance(self, now: float) -> None:
        """Try a message every five seconds until one is accepted."""
        if self.phase != "experiment":
            self._last_accepted = now
        self.phase, self._blocked, self._settling = "experiment", True, True
        self._set(_WHILE_BLOCKED, now)
        self._begin(now, 1 / _WHILE_BLOCKED)

    def _end_experiment(self, now: float) -> None:
        count, before = self._count, self._before
        if count.answers < ENOUGH and now - count.began < _LONGEST_SECONDS:
            self._ends = now
            return
        share = count.share
        if share <= _SUSPICIOUS and share <= ALIKE * before:
            # One of twenty that is throttled says nothing about the recipients.
            self._expected = share if share > 1 / ENOUGH and count.answers >= ENOUGH else 0.0
            self._trust = _TRUST_SECONDS[0]
            self._hold(now)
            return
        if count.accepted:
            self._last_accepted = now
            self._needed -= alike(share, before)
        silent = now > self._last_accepted + _SILENT_SECONDS
        if self._needed <= 0 or silent or now > self._series + _SERIES_SECONDS:
            # The speed is not the reason, so the recipients are.
            self._expected, self._trust_ends = share, now + self._trust
            self._trust = min(2 * self._trust, _TRUST_SECONDS[1])
            self._enter("rise", 2 * max(_SLOW_START, self.rate or 0.0), now)
        else:
            self._experiment(now)

    def _reopen(self, now: float) -> None:
        """Take up the long run's rate, now that a relay that accepted nothing accepts again."""
        if not self._raises and self._long_run.accepted:
            short = self._long_run.opened or now <= self._last_accepted + _FEW_SECONDS
            least = _SECOND if short else _MINUTE
            self._return_to = JUST_BELOW * self._long_run.rate(now, self._count.accepted, least)
        self._blocked = False
        self._set(self._return_to, now)
        self._begin(now, _EXPERIMENT_SECONDS)
        self._long_run, self._last_accepted = LongRun(now, opened=True), now

    def _hold(self, now: float) -> None:
        """Stay just below what the relay takes."""
        if self._long_run.began < self._series:
            self._long_run = LongRun(self._count.began)
        self._enter("hold", self._return_to, now)
        self._trial, self._raises, self._raise_at = AnswerCount(now), 0, now + self._wait

    def _end_trial(self, now: float) -> None:
        """Judge a held rate by the last second, and after ten seconds by all of them."""
        count, trial, seconds = self._count, self._trial, now - self._trial.began
        enough = trial.answers + count.answers >= ENOUGH
        over = seconds >= _TRIAL_SECONDS and enough if self._is_fast else seconds >= _MINUTE
        suddenly = count.is_mostly_throttled and not self._expected
        if count.answers < ENOUGH and not (over or suddenly):
            self._ends = now
            return
        trial.answers += count.answers
        trial.throttled += count.throttled
        suddenly |= count.answers >= ENOUGH and count.exceeds(self._expected, _SUSPICIOUS)
        if suddenly or (over and trial.exceeds(self._expected, _RISEN)):
            if self._raises:
                self._raise_failed(count.accepted / (now - count.began))
            self._experiment(now)
            self._before = max(self._before, trial.share)
        elif over and now >= self._raise_at:
            self._raise(now)
        else:
            if over:
                self._trial, self.found = AnswerCount(now), self.rate
            self._begin(now)

    def _raise_failed(self, accepted_rate: float) -> None:
        """Wait longer before the next raise; after the first, what is accepted is known better."""
        if not self._failed:
            self._return_to = max(self._return_to, JUST_BELOW * accepted_rate)
        least, longest = _WAIT_SECONDS if self._is_fast else _SLOW_WAIT_SECONDS
        self._wait, self._failed = min(2 * max(least, self._wait), longest), True

    def _raise(self, now: float) -> None:
        """Try a little more; after many that were good, double the rate each second."""
        rate, clean = self.rate or inf, not self._trial.throttled
        self._trial, self._raises = AnswerCount(now), self._raises + 1
        first = _FIRST_RAISES if self._is_fast else _FIRST_SLOW_RAISES
        step, most = _LATER_RAISES if self._failed else first
        # A minute of ours is of two of the relay's.
        if clean and (self._failed or self._is_fast):
            self._return_to = rate
        if self._raises <= most or not clean:
            self._enter("hold", step * rate, now)
        else:
            self._wait, self._failed = _WAIT_SECONDS[0], False
            self._enter("rise", 2 * rate, now)

    def _go_on_rising(self, now: float) -> None:
        count, rate = self._count, self.rate or inf
        enough, by = count.answers >= ENOUGH, _RISEN if self._expected else _SUSPICIOUS
        waits = self._raises and now - count.began < _LONGEST_SECONDS
        sure = self._raises and not self._expected
        if not enough and (waits or (count.throttled and not self._expected)):
            # The relay has throttled: doubling each second would use up what it takes a minute.
            self._ends = now
        elif enough and count.exceeds(self._expected, _RISEN if sure else by + count.by_chance(by)):
            self._failed = bool(self._raises)
            self._experiment(now)
        elif count.booked + ENOUGH < rate * (now - count.began) / 2:
            # Less than half of it is used: the rate holds nothing back.
            self._enter("full", inf, now)
        else:
            self._enter("rise", 2 * rate, now)

    def _enter(self, phase: Literal["full", "hold", "rise"], rate: float, now: float) -> None:
        self.phase, self._blocked, self._settling = phase, False, False
        self.found = rate if phase == "hold" else None
        self._set(rate, now)
        self._begin(now)

    def _set(self, rate: float, now: float) -> None:
        """Set the rate; one that reaches the limit has no effect, and is dropped."""
        rate = max(_LOWEST, rate)
        if rate >= self._highest:
            self.phase, self._limiter, self.rate, self._blocked = "full", None, None, False
            return
        self.rate, self._is_fast = rate, rate >= _FAST
        self._limiter = self._limiter or RateLimiter(rate, now)
        self._limiter.rate = rate

    def _begin(self, now: float, seconds: float = _SECOND) -> None:
        """Begin a new count."""
        self._long_run.add(self._count.accepted, now)
        self._count, self._ends = AnswerCount(now), now + seconds
