"""Processes that die while a release goes out, on the virtual clock: it ends all the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mailer.fanout.acknowledgements import AcknowledgementWriter
from mailer.storage.database import transaction
from mailer.storage.models import RelayState
from tests.support.scripted_relay import Answer, script
from tests.support.sending import ADA, DEAD, FULL, Playing, Sending, everybody, people
from tests.support.world import World

Dying = Callable[[World, int], None]
RESTART_SECONDS = 2


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Dying:
    """Let every worker die after each so many commits of acknowledgements, and start another."""
    write = AcknowledgementWriter._write
    commits = 0

    def begin(world: World, every: int) -> None:
        async def write_and_die(writer: AcknowledgementWriter, *given: Any) -> Any:
            nonlocal commits
            states = await write(writer, *given)
            commits += 1
            if commits % every == 0:
                for worker in world.workers:
                    if not worker.dead:
                        world.kill(worker)
                asyncio.get_running_loop().call_later(RESTART_SECONDS, world.start_worker)
            return states

        monkeypatch.setattr(AcknowledgementWriter, "_write", write_and_die)

    return begin


def listed_copies(sending: Sending) -> Counter[str]:
    """Return the messages taken, and see that each one twice is listed as uncertain."""
    taken = sending.taken()
    twice = {one for one, copies in taken.items() if copies > 1}
    assert twice <= sending.room.uncertain(sending.release_id)
    return taken


def test_a_third_process_that_ends_at_the_same_recipient_pauses_the_release(
    playing: Playing,
) -> None:
    async def story(sending: Sending) -> None:
        for _ in range(3):
            await asyncio.sleep(30)
            for worker in sending.world.workers:
                sending.world.kill(worker)
            await asyncio.sleep(120)
            sending.world.start_worker()
        receipt = await sending.until_at_rest(0.1)
        assert receipt.state == "paused"
        assert "Three processes" in sending.because

    playing(script((ADA, "rcpt", Answer(None))), [ADA], story)


@pytest.mark.parametrize("every", [1, 2, 3, 5, 8, 13])
def test_a_dead_and_a_full_mailbox_end_and_are_told_apart(
    playing: Playing, dying: Dying, every: int
) -> None:
    *_, last = followers = people(12)

    async def story(sending: Sending) -> None:
        dying(sending.world, every)
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted) == ("done", 10)
        assert receipt.reasons["refused"] == {"5.1.1": 1, "expired": 1}
        listed_copies(sending)

    playing(script((last, "rcpt", DEAD), (ADA, "rcpt", FULL)), followers, story)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_press_room_of_one_whose_mailbox_is_dead_ends(
    playing: Playing, dying: Dying, every: int
) -> None:
    async def story(sending: Sending) -> None:
        dying(sending.world, every)
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.reasons) == ("done", {"refused": {"5.1.1": 1}})

    playing(everybody("rcpt", DEAD), [ADA], story)


@pytest.mark.parametrize("every", [7, 40])
@pytest.mark.parametrize("others", [0, 300])
@pytest.mark.slow
def test_three_hundred_at_a_domain_that_is_down_for_a_day_have_it_the_day_after(
    playing: Playing, dying: Dying, every: int, others: int
) -> None:
    answer = Answer("451 4.4.1 No answer")
    down = [f"reader{number:03}@down.example" for number in range(300)]
    answers = lambda at, who, _: answer if at == "rcpt" and "@down." in who else None  # noqa: E731

    async def story(sending: Sending) -> None:
        dying(sending.world, every)
        await asyncio.sleep(86_400)
        assert sending.receipt.accepted == others
        sending.relay.heal()
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted) == ("done", 300 + others)
        assert set(listed_copies(sending)) == {*down, *people(others)}

    playing(answers, [*down, *people(others)], story)


@pytest.mark.parametrize("every", [2, 5])
@pytest.mark.slow
def test_no_connection_for_days_pauses_it_and_costs_nobody_anything(
    playing: Playing, dying: Dying, every: int
) -> None:
    async def story(sending: Sending) -> None:
        dying(sending.world, every)
        await asyncio.sleep(3600)
        with transaction() as session:
            # Two days of probes, but for the last twenty: they take a computer a minute.
            session.get_one(RelayState, 1).probes = 580
        await asyncio.sleep(6 * 3600)
        assert (sending.receipt.state, sending.receipt.waiting) == ("paused", 12)
        assert "two days" in sending.because
        sending.relay.heal()
        sending.room.resume(sending.release_id)
        receipt = await sending.until_at_rest(1)
        assert (receipt.state, receipt.accepted) == ("done", 12)
        assert set(listed_copies(sending)) == set(people(12))

    playing(everybody("banner", Answer(None, closes=True)), people(12), story)
