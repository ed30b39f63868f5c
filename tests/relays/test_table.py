"""Every row of the table is tried: nobody starves, is wronged, or gets it twice."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from tests.relays.report import Finding, note
from tests.relays.row import LONG, Row
from tests.relays.sick import VALUES
from tests.relays.table import ROWS
from tests.relays.trial import RelayTrial
from tests.support.trial import Parts

PLAYED = [row for row in ROWS if LONG or row.short]


@pytest.mark.parametrize("row", PLAYED, ids=map(str, PLAYED))
def test_a_relay_that_misbehaves_costs_nobody_the_release(row: Row, parts: Parts) -> None:
    finding = Finding.of(row)
    note(finding)
    with RelayTrial.running(parts, row) as trial:
        assert trial.sick or not (row.odd or row.sick), "nobody is sick: more followers"
        plain = trial.plain() if LONG and row.timed else 1.0
        measured = row.play(trial)
        finding = finding.after(trial, plain, measured)
        note(finding)
        mistakes = finding.mistakes(row, trial.receipt()["state"])
        finding = replace(finding, held=not mistakes)
        note(finding)
        print(finding.line())
        assert not mistakes, finding


def test_every_pair_of_values_is_played() -> None:
    columns = list(zip(*VALUES, strict=True))
    for one, other in combinations(columns, 2):
        assert len(set(zip(one, other, strict=True))) == len(set(one)) * len(set(other))
