"""Random worlds on the virtual clock: a seed is one world, and a planted fault is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailer.fanout.answers.replies import Verdict
from mailer.fanout.delivery.batch import BatchRun
from tests.support.random_worlds import Ending, play

AMONG = 100
SEEDS = (1, 4, 11, 13, 36, 20, 22, 23, 30, 38)
"""Five worlds with fewer than 20 followers, five with more; with kills, pauses and leavings."""


def test_a_seed_is_one_world(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {seed: str(_played(seed, migrated, monkeypatch)) for seed in SEEDS}
    # In another order, so that nothing that a world leaves behind in the process goes unnoticed.
    again = {seed: str(_played(seed, migrated, monkeypatch)) for seed in reversed(SEEDS)}
    assert again == first


def test_a_position_that_is_written_before_the_answer_is_found(
    migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over = BatchRun._hand_over

    async def hand_over_too_late(run: BatchRun, mail: Any) -> Verdict:
        run._position += 1
        await run._record()
        run._position -= 1
        return await hand_over(run, mail)

    monkeypatch.setattr(BatchRun, "_hand_over", hand_over_too_late)
    assert any("accepted, but not taken" in one for one in _broken(migrated, monkeypatch))


def _broken(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, ...]]:
    for seed in range(AMONG):
        yield _played(seed, migrated, monkeypatch).broken


def _played(seed: int, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Ending:
    with monkeypatch.context() as once:
        return play(seed, migrated, once)
