"""A host with workers is cut off while a release goes out; nobody is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.faults.cuts import CUT_SECONDS, LONG, HostsTrial


def from_the_database(trial: HostsTrial) -> AbstractContextManager[None]:
    """Leave it the relay, where it could go on sending what is no longer its own."""
    return trial.network.parted(trial.victim, trial.database)


def from_the_relay(trial: HostsTrial) -> AbstractContextManager[None]:
    """Leave it the database: its leases live, and its messages wait."""
    return trial.network.parted(trial.victim, trial.relay)


def from_everything(trial: HostsTrial) -> AbstractContextManager[None]:
    """Pull its cable."""
    return trial.network.unplugged(trial.victim)


# The nastiest is part of every run of the tests, the others of `make faults`: each takes its time.
CUTS = [from_the_database, *([from_the_relay, from_everything] if LONG else [])]


@pytest.mark.parametrize("cut", CUTS)
def test_nobody_is_lost_when_a_worker_host_is_cut_off(
    cut: Callable[[HostsTrial], AbstractContextManager[None]], tmp_path: Path
) -> None:
    with HostsTrial.on_hosts(tmp_path) as trial:
        row = f"worker host cut off {cut.__name__.replace('_', ' ')} for {CUT_SECONDS} s"
        print(f"{row}: seed {trial.seed}")
        figures = trial.suffer(row, cut(trial), claiming=cut is not from_the_relay)
        print(figures)
        assert figures.lost == 0
        assert figures.duplicates <= figures.bound
