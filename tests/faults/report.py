"""What was found, kept a file a trial, and written together as docs/faults.md."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

from tests.faults.fault import Fault
from tests.faults.trial import CONNECTIONS, LONG, QUICK, Trial
from tests.service import ROOT
from tests.support.circumstances import circumstances, commits
from tests.support.relay_process import Count

PAGE = ROOT / "docs" / "faults.md"
_NOTES = ROOT / "build" / "faults"


@dataclass(frozen=True)
class Finding:
    """One row of the report: one fault on one database; it has failed until it is seen to hold."""

    number: int
    name: str
    injected: str
    database: str
    bound: str
    seed: str
    held: bool = False
    counted: bool = False
    """Whether the trial came as far as counting; without, the figures below say nothing."""
    times: int = 0
    messages: int = 0
    lost: int = 0
    duplicates: int = 0
    most: int = 0
    resumed: list[float] = field(default_factory=list)
    remark: str = ""
    commit: str = ""
    """What was tried: rows may be tried again one at a time."""

    @classmethod
    def of(cls, fault: Fault, database: str, seed: str) -> Self:
        """Put together what is known before a trial."""
        return cls(
            number=fault.number,
            name=fault.name,
            injected=fault.injected,
            database=database,
            bound=fault.bound.formula,
            seed=seed,
            commit=circumstances()["commit"],
        )

    def after(self, fault: Fault, trial: Trial, count: Count) -> Self:
        """Add what the trial has shown."""
        story = trial.story
        return replace(
            self,
            counted=True,
            times=story.strikes,
            messages=trial.number * len(trial.published),
            lost=count.lost,
            duplicates=count.duplicates,
            most=fault.bound.most(story),
            resumed=story.pauses,
            remark=", ".join(
                f"at most {max(numbers):.3g} {unit}" for unit, numbers in story.figures.items()
            ),
        )

    def line(self) -> str:
        """Write it as a line of the table."""
        what = f"{self.injected}; {self.remark}" if self.remark else self.injected
        held = "yes" if self.held else "**failed**"
        figures = self._figures() if self.counted else [*"––––", self.bound, *"––"]
        cells = [self.number, self.name, what, self.database, held, *figures, self.seed]
        return f"| {' | '.join(map(str, cells))} |"

    def _figures(self) -> list[object]:
        middle, longest = (
            (f"{statistics.median(self.resumed):.1f}", f"{max(self.resumed):.1f}")
            if self.resumed
            else ("–", "–")
        )
        bound = f"{self.most} ({self.bound})"
        counts = [self.times, f"{self.messages:,}", self.lost, self.duplicates]
        return [*counts, bound, middle, longest]


def note(finding: Finding) -> None:
    """Keep a finding of the long form, in place of what an earlier run has found."""
    if LONG:
        _NOTES.mkdir(parents=True, exist_ok=True)
        _file(finding.number, finding.database).write_text(f"{json.dumps(asdict(finding))}\n")


def _file(number: int, database: str) -> Path:
    return _NOTES / f"{number:02}-{database}.json"


def write_page() -> None:
    """Write the page from all findings of the long form that there are."""
    findings = [Finding(**json.loads(file.read_text())) for file in sorted(_NOTES.glob("*.json"))]
    PAGE.write_text(
        _PAGE.format(
            rows="\n".join(finding.line() for finding in findings),
            lost=sum(finding.lost for finding in findings),
            messages=f"{sum(finding.messages for finding in findings):,}",
            times=sum(finding.times for finding in findings),
            verdict=_verdict(findings),
            lease=QUICK["MAILER_LEASE_SECONDS"],
            sweep=QUICK["MAILER_SWEEP_SECONDS"],
            connections=CONNECTIONS,
            **{**circumstances(), "commit": commits(one.commit for one in findings)},
        )
    )


def _verdict(findings: list[Finding]) -> str:
    failed = [finding for finding in findings if not finding.held]
    rows = ", ".join(f"row {finding.number} on {finding.database}" for finding in failed)
    return f"Failed: {rows}." if failed else "Every row held."


_PAGE = """\
# Faults, measured

Written by `make faults`; do not edit. It breaks real processes while releases go out, reads the
receipt throughout (unless it balances every time, the run fails), and counts messages at the relay,
which records each before it answers.

**{times:,} injections, {messages} messages, {lost} lost. {verdict}** {date}, commit {commit},
{machine}; {versions}; PostgreSQL with `fsync = on`.

Leases last {lease} s and the sweep runs every {sweep} s; the defaults are 60 and 10. After a kill,
the batches of the dead worker wait for their leases to run out, and then for the next sweep. A
worker has {connections} connections. Seconds are from the end of an injection to the next accepted
message (from the host that was cut off, where one was), the median and the longest; a dash says
that sending was not held up, or that nothing could be measured. Unless the receipt lists every
duplicate as `uncertain`, the run fails.

| # | fault | injected | on | held | times | messages | lost | twice | bound | s | longest | seed |
|--:|---|---|---|---|--:|--:|--:|--:|---|--:|--:|--:|
{rows}

To repeat a row: `make faults ARGS='-k row13-'`; to repeat it at the same moments, as far as
processes allow: `FAULTS_SEED=… make faults ARGS='-k row13-'`.
"""
