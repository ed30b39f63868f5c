"""What was found, kept a file a trial, and written together as docs/reliability.md."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Self

from tests.faults.post import Count
from tests.faults.table import Fault
from tests.faults.trial import CONNECTIONS, LONG, QUICK, Trial
from tests.servers import find_program
from tests.service import ROOT

PAGE = ROOT / "docs" / "reliability.md"
_NOTES = ROOT / "build" / "faults"


@dataclass(frozen=True)
class Finding:
    """One row of the report: one fault on one database."""

    number: int
    name: str
    injected: str
    database: str
    times: int
    messages: int
    lost: int
    duplicates: int
    bound: str
    most: int
    resumed: list[float]
    remark: str
    seed: str

    @classmethod
    def of(cls, fault: Fault, database: str, seed: str, trial: Trial, count: Count) -> Self:
        """Put together what a trial has shown."""
        story = trial.story
        return cls(
            number=fault.number,
            name=fault.name,
            injected=fault.injected,
            database=database,
            times=story.strikes,
            messages=trial.number * len(story.published),
            lost=count.lost,
            duplicates=count.duplicates,
            bound=fault.bound.formula,
            most=fault.bound.most(story),
            resumed=story.pauses,
            remark=", ".join(
                f"at most {max(numbers):.3g} {unit}" for unit, numbers in story.figures.items()
            ),
            seed=seed,
        )

    def line(self) -> str:
        """Write it as a line of the table."""
        middle, longest = (
            (f"{statistics.median(self.resumed):.1f}", f"{max(self.resumed):.1f}")
            if self.resumed
            else ("–", "–")
        )
        what = f"{self.injected}; {self.remark}" if self.remark else self.injected
        cells = [
            *(self.number, self.name, what, self.database, self.times, f"{self.messages:,}"),
            *(self.lost, self.duplicates, f"{self.most} ({self.bound})", middle, longest),
            self.seed,
        ]
        return f"| {' | '.join(map(str, cells))} |"


def forget(fault: Fault, database: str) -> None:
    """Drop what an earlier run of the long form has found; it is tried anew."""
    if LONG:
        _NOTES.mkdir(parents=True, exist_ok=True)
        _file(fault.number, database).unlink(missing_ok=True)


def note(finding: Finding) -> None:
    """Keep a finding of the long form."""
    if LONG:
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
            **_circumstances(),
        )
    )


def _circumstances() -> dict[str, object]:
    postgresql = _said(find_program("postgres"), "--version")
    redis = _said(find_program("redis-server"), "--version").split()[2].removeprefix("v=")
    model = next(
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": _said("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "machine": f"{os.cpu_count()} × {model}, {platform.system()} {platform.release()}",
        "versions": f"Python {platform.python_version()}, {postgresql}, "
        f"SQLite {sqlite3.sqlite_version}, Redis {redis}, RQ {version('rq')}, "
        f"SQLAlchemy {version('sqlalchemy')}",
        "lease": QUICK["MAILER_LEASE_SECONDS"],
        "sweep": QUICK["MAILER_SWEEP_SECONDS"],
        "connections": CONNECTIONS,
    }


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


_PAGE = """\
# Reliability, measured

Written by `make faults`; do not edit. It breaks real processes while releases go out, reads the
receipt all the way (it balances at every look, or the run fails), and counts at the relay, which
writes every message down before it answers.

**{times:,} injections, {messages} messages, {lost} lost.** {date}, commit `{commit}`,
{machine}; {versions}; PostgreSQL with `fsync = on`.

Leases last {lease} s and the sweep goes round every {sweep} s, where a service has 60 and 10: after
a kill, the batches that the dead worker held wait for the longer of the two. A worker has
{connections} connections. Seconds are from the end of an injection to the next accepted message,
in the middle and at the longest; a dash says that nothing was held up or nothing could be measured.
Every duplicate is one that the receipt lists as `uncertain`, or the run fails.

| # | fault | injected | database | times | messages | lost | twice | bound | s | longest | seed |
|--:|---|---|---|--:|--:|--:|--:|---|--:|--:|--:|
{rows}

One row again: `make faults ARGS='-k row13-'`; the moments again, as far as processes let
themselves be repeated: `FAULTS_SEED=… make faults ARGS='-k row13-'`.
"""
