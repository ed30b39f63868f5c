"""What was found, kept a file a row, and written together as docs/relays.md."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Self

from tests.relays.row import FACTOR, LONG, SECONDS, SECONDS_OF_FEW, Row
from tests.relays.trial import Measured, RelayTrial
from tests.service import ROOT
from tests.support.circumstances import circumstances, commits

PAGE = ROOT / "docs" / "relays.md"
_NOTES = ROOT / "build" / "relays"
_NAMED_EACH = 2


@dataclass(frozen=True)
class Finding:
    """One row of the report; it has failed until it is seen to hold."""

    number: int
    case: str
    name: str
    release: str
    held: bool = False
    starved: int = 0
    wronged: int = 0
    copies: int = 0
    twice: int = 0
    named: int | None = None
    named_bound: int = 0
    seconds: float = 0.0
    plain: float = 0.0
    bound: float | None = None
    refusals: int | None = None
    """How often the relay did not give its usual answer; None if nobody counted."""
    taken: float | None = None
    throttled: float | None = None
    remark: str = ""
    commit: str = ""
    """What was tried: rows may be tried again one at a time."""
    counted: bool = False
    """Whether the trial came as far as counting; without, the figures say nothing."""

    @classmethod
    def of(cls, row: Row) -> Self:
        """Put together what is known before a trial."""
        workers = "one worker" if row.workers == 1 else f"{row.workers} workers"
        domains = "one domain" if row.domains == 1 else f"{row.domains} domains"
        release = f"{row.size:,} of {domains}, {row.database}, {workers} × {row.connections}"
        commit = circumstances()["commit"]
        return cls(row.number, row.case, row.name, release, commit=commit)

    def after(self, trial: RelayTrial, plain: float, measured: Measured) -> Self:
        """Add what the trial has shown."""
        row, copies, sick = trial.row, trial.copies(), len(trial.ill())
        return replace(
            self,
            counted=True,
            starved=measured.starved,
            wronged=len(trial.wronged()),
            copies=max(copies.values(), default=0),
            twice=sum(number > 1 for number in copies.values()),
            named=measured.named_after,
            named_bound=_NAMED_EACH * row.connections * row.workers,
            seconds=measured.seconds,
            plain=plain,
            bound=row.bound(plain, sick) if row.timed else None,
            refusals=trial.refusals(),
            taken=measured.taken,
            throttled=measured.throttled,
            remark=", ".join(filter(None, [f"{sick:,} sick" if sick else "", measured.remark])),
        )

    def mistakes(self, row: Row, state: str) -> list[str]:
        """Say what did not hold; no time is looked at in the short form."""
        found = {
            f"{self.starved} starved": self.starved > 0,
            f"{self.wronged} refused or suppressed wrongly": self.wronged > 0,
            f"{self.copies} copies": self.copies > row.copies,
            f"{self.named} named after": (self.named or 0) > self.named_bound,
            "the relay did not misbehave": bool(row.rules or row.limits) and not self.refusals,
            "it paused": state == "paused",
            f"only {self.taken} of what it takes": (self.taken or 1.0) < row.least_taken,
            f"{self.throttled} throttled": (self.throttled or 0.0) > row.most_throttled,
            f"{self.seconds:.1f} s": LONG and self.bound is not None and self.seconds > self.bound,
        }
        return [one for one, wrong in found.items() if wrong]

    def line(self) -> str:
        """Write it as a line of the table."""
        held = "yes" if self.held else "**no**"
        times = "" if self.refusals is None else f"{self.refusals:,} times"
        throttle = ""
        if self.taken is not None:
            throttle = f"{self.taken:.2f} of what it takes, {self.throttled:.1%} throttled"
        what = "; ".join(filter(None, [self.name, times, throttle, self.remark]))
        figures = self._figures() if self.counted else ["–"] * 8
        cells = [
            self.number,
            self.case or "–",
            what,
            self.release,
            held,
            *figures,
        ]
        return f"| {' | '.join(map(str, cells))} |"

    def _figures(self) -> list[str]:
        named = "–" if self.named is None else f"{self.named} ({self.named_bound})"
        ratio = f"{self.seconds / self.plain:.2f}" if self.bound else "–"
        bound = f"{self.bound:.1f}" if self.bound else "–"
        copies = f"{self.copies} ({self.twice})"
        seconds = [f"{self.seconds:.1f}", f"{self.plain:.1f}", ratio, bound]
        return [str(self.starved), str(self.wronged), copies, named, *seconds]


def note(finding: Finding) -> None:
    """Keep a finding of the long form, in place of what an earlier run has found."""
    if LONG:
        _NOTES.mkdir(parents=True, exist_ok=True)
        file = _NOTES / f"{finding.number:02}.json"
        file.write_text(f"{json.dumps(asdict(finding))}\n")


def write_page(of: int) -> None:
    """Write the page from all findings of the long form that there are, of so many rows."""
    findings = [Finding(**json.loads(file.read_text())) for file in sorted(_NOTES.glob("*.json"))]
    failed = ", ".join(f"row {finding.number}" for finding in findings if not finding.held)
    PAGE.write_text(
        _PAGE.format(
            rows="\n".join(finding.line() for finding in findings),
            number=len(findings),
            of=of,
            verdict=f"Did not hold: {failed}." if failed else "All of these held.",
            factor=FACTOR,
            more=f"{SECONDS:g}",
            few=f"{SECONDS_OF_FEW:g}",
            **{**circumstances(), "commit": commits(one.commit for one in findings)},
        )
    )


_PAGE = """\
# Relays that misbehave, measured

Written by `make relays`; do not edit. Each row is one release, sent by real processes to a real
relay that misbehaves, beside the same release to the same followers while the relay is well. The
receipt is read throughout; unless it balances every time, the run fails.

**{number} of {of} rows were run. {verdict}** {date}, commit {commit},
{machine}; {versions}; PostgreSQL with `fsync = on`.

The settings are the defaults, but the sweep runs every second. The relay is a program that records
every message before it answers, unless a row names Postfix or Exim; *times* is how often it did not
give its usual answer. *Release* says how many followers of how many domains, the database, and
workers × connections of each. *Starved* are followers whom the relay would have taken and who did
not get it; *wronged* are those who are refused or suppressed without a refusal of the relay that
means it; *copies* are the most that somebody got (and how many got more than one); *named* are the
RCPTs that the relay read since the last look that found the release neither paused nor stopped (and
how many there may be: two for each connection). Seconds are from the publish call until every
healthy follower has it, or, where the row says so, until it is done; beside them the plain release,
the faster of two, with as many connections as the relay allows. The bound is {factor} × the plain
release + {more} s; with less than 1 % sick + {few} s. A relay that *throttles* is watched for some
minutes, and judged after the first: what it was sent, of what it takes, and the share of its
answers that are the throttle's.

| # | case | behaviour | release | held | starved | wronged | copies | named | s | plain | × | ≤ |
|--:|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
{rows}

To repeat a row: `make relays ARGS='-k row30-'`. What lasts longer by its nature is played on a
virtual clock, by `tests/fanout/test_relay_behaviour.py`.
"""
