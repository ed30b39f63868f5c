"""Random worlds on the virtual clock: a seed is one world, and planted faults are found."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailer.domain.releases import receipts
from mailer.domain.releases.receipts import Receipt
from mailer.fanout.answers.replies import Verdict
from mailer.fanout.delivery.batch import BatchRun
from mailer.fanout.release_letters import ReleaseLetter
from mailer.mail.smtp import Mail
from mailer.storage.models import Publisher
from tests.support import random_worlds
from tests.support.press_room import PressRoom
from tests.support.random_worlds import Ending, Plan, play
from tests.support.scripted_relay import ScriptedRelay
from tests.support.world import WorkerTasks, World

AMONG = 100
SEEDS = (1, 4, 13, 43, 45, 22, 23, 26, 30, 38)
"""Five worlds with fewer than 20 followers, five with more; with kills, pauses and leavings."""
SMALL = 4
"""A world with four followers, which is soon played."""
BUSY = 7
"""A world with five followers, some of whom are tried for two days."""


@pytest.mark.slow
def test_a_seed_is_one_world(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {seed: str(_played(seed, migrated, monkeypatch)) for seed in SEEDS}
    # In another order, so that nothing that a world leaves behind in the process goes unnoticed.
    again = {seed: str(_played(seed, migrated, monkeypatch)) for seed in reversed(SEEDS)}
    assert again == first


@pytest.mark.slow
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


def test_a_receipt_that_balances_and_is_wrong_is_found(
    migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = receipts.receipt

    def wrong(publisher: Publisher, release_id: int) -> Receipt:
        receipt = right(publisher, release_id)
        if not receipt.accepted:
            return receipt
        return replace(receipt, accepted=receipt.accepted - 1, refused=receipt.refused + 1)

    assert _played(SMALL, migrated, monkeypatch).broken == ()
    monkeypatch.setattr(receipts, "receipt", wrong)
    broken = _played(SMALL, migrated, monkeypatch).broken
    assert "the receipt is not the sum of its recipients" in broken
    assert "the receipt does not balance" not in broken


@pytest.mark.parametrize(
    ("one_more", "to", "found"),
    [(1, "", "with links of another"), (0, "x", "addressed to another")],
)
def test_a_message_of_another_is_found(
    migrated: Path, monkeypatch: pytest.MonkeyPatch, one_more: int, to: str, found: str
) -> None:
    right = ReleaseLetter.mail

    def wrong(letter: ReleaseLetter, subscription_id: int, address: str) -> Mail:
        own = right(letter, subscription_id, address)
        other = right(letter, subscription_id + one_more, to + address)
        return Mail(own.sender, own.recipient, other.content)

    monkeypatch.setattr(ReleaseLetter, "mail", wrong)
    assert _played(SMALL, migrated, monkeypatch).broken == (found,)


def test_a_release_that_stays_paused_is_found(
    migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "drawn", lambda *_: Plan(1, ((0.0, "pause"),), frozenset()))
    assert _played(SMALL, migrated, monkeypatch).broken == ()
    monkeypatch.setattr(PressRoom, "resume", lambda *_: "paused")
    broken = _played(SMALL, migrated, monkeypatch).broken
    assert "paused, though the relay accepts everything" in broken


@pytest.mark.slow
def test_a_release_that_lasts_ends_once_the_relay_accepts_everything(
    migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The relay alone would refuse all five for two days.
    monkeypatch.setattr(random_worlds, "_SWEEPS_AT_MOST", 30)
    ending = _played(BUSY, migrated, monkeypatch)
    assert (ending.broken, ending.receipt.accepted) == ((), 5)
    monkeypatch.setattr(ScriptedRelay, "heal", lambda _: None)
    assert _played(BUSY, migrated, monkeypatch).broken == ("it does not end",)


def test_a_worker_is_killed_at_its_dot(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(workers=2, happenings=(), kills=frozenset({(0, "before"), (2, "after")}))
    dots: list[int] = []
    kill = World.kill

    def note(running: World, worker: WorkerTasks) -> None:
        dots.append(running.relay.dots)
        kill(running, worker)

    monkeypatch.setattr(World, "kill", note)
    monkeypatch.setattr(Plan, "drawn", lambda *_: plan)
    assert _played(SMALL, migrated, monkeypatch).broken == ()
    # At the end of the world, all four are.
    assert dots[:-4] == [1, 3]


def test_each_broken_promise_is_printed_with_its_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed: list[str] = []

    def play_wrongly(seed: int, *_: object) -> Ending:
        printed.append(capsys.readouterr().out)
        return Ending(0.0, Receipt("done"), (), (), ("twice",) if seed == 7 else ())

    monkeypatch.setattr(random_worlds, "play", play_wrongly)
    monkeypatch.setattr(logging, "disable", lambda: None)
    monkeypatch.setattr(sys, "argv", ["random_worlds", "6", "9"])
    random_worlds.main()
    assert printed == ["", "", "7: twice\n"]


def test_a_replay_names_everybody_who_was_named_and_served() -> None:
    ending = Ending(1.0, Receipt("done"), ((0.5, "kari@x"),), ((0.75, "ola@x"),), ())
    assert "(0.5, 'kari@x')" in str(ending)
    assert "(0.75, 'ola@x')" in str(ending)


def _broken(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, ...]]:
    for seed in range(AMONG):
        yield _played(seed, migrated, monkeypatch).broken


def _played(seed: int, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Ending:
    with monkeypatch.context() as once:
        return play(seed, migrated, once)
