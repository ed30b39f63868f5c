"""Random worlds on the virtual clock: a seed is one world, and a planted fault is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailer.fanout.delivery import BatchRun
from mailer.fanout.replies import Verdict
from tests.support.random_worlds import play

AMONG = 100


@pytest.mark.parametrize("seed", [1, 3, 4, 8])
def test_a_seed_is_one_world(seed: int, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endings = []
    for _ in range(2):
        with monkeypatch.context() as once:
            endings.append(play(seed, migrated, once))
    assert str(endings[0]) == str(endings[1])
    assert not endings[0].broken


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
        with monkeypatch.context() as once:
            yield play(seed, migrated, once).broken
