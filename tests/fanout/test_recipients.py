"""Looking again: who leaves between the freeze and their turn gets nothing any more."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from mailer.domain.followers import address_change
from mailer.fanout.acknowledgements import Acknowledged
from mailer.fanout.database_thread import Abandoned, DatabaseThread
from mailer.fanout.recipients import LOOKED_UP_SECONDS, Lookahead, Recipient, RecipientLoader
from mailer.fanout.release_letters import LetterComposer
from mailer.storage.models import Subscription
from tests.fanout.press_room import ADA, BOB, CAI, DAG, EVA, FOLLOWERS, SendingRoom, crowd
from tests.support.press_room import EVIDENCE

T = TypeVar("T")
Goodbye = Callable[[SendingRoom, str], None]
GOODBYES: list[tuple[Goodbye, str]] = [
    (SendingRoom.leave, "left"),
    (lambda room, address: room.erase(room.subscription(address).id), "gone"),
    (SendingRoom.suppress, "suppressed"),
    (SendingRoom.pause_reader, "paused"),
]


@pytest.mark.parametrize(("goodbye", "reason"), GOODBYES, ids=[reason for _, reason in GOODBYES])
def test_who_is_lost_after_the_freeze_is_skipped(
    room: SendingRoom, goodbye: Goodbye, reason: str
) -> None:
    release_id = room.freeze()
    goodbye(room, BOB)
    room.drain()
    receipt = room.receipt(release_id)
    assert (receipt.state, receipt.accepted, receipt.skipped) == ("done", 4, 1)
    assert receipt.reasons["skipped"] == {reason: 1}
    assert room.received() == Counter({ADA, CAI, DAG, EVA})


@pytest.mark.parametrize("new", [ADA, EVA, "bob@new.example.org"])
def test_who_moves_after_the_freeze_gets_it_once_at_the_new_address(
    room: SendingRoom, new: str
) -> None:
    """Also where the new mailbox follows, too, and would get it sooner or later."""
    release_id = room.freeze()
    token = room.ask_to_move(room.subscription(BOB).id, new)
    assert address_change.move(room.settings, token, EVIDENCE).done
    room.drain()
    receipt = room.receipt(release_id)
    merged = new in FOLLOWERS
    assert (receipt.state, receipt.accepted, receipt.skipped) == ("done", 5 - merged, merged)
    assert room.received() == Counter({ADA, CAI, DAG, EVA, new})


def test_a_look_up_serves_what_it_has_for_a_while_and_nobody_else() -> None:
    fresh = Lookahead(range(50, 100), (), (), (), {}, time.monotonic())
    stale = Lookahead(range(50, 100), (), (), (), {}, time.monotonic() - LOOKED_UP_SECONDS - 1)
    assert [fresh.covers(position) for position in (49, 50, 99, 100)] == [False, True, True, False]
    assert not stale.covers(50)


def test_everybody_may_leave(room: SendingRoom) -> None:
    release_id = room.freeze()
    for one in FOLLOWERS:
        room.leave(one)
    room.drain()
    receipt = room.receipt(release_id)
    assert (receipt.state, receipt.skipped, room.relay.connections) == ("done", 5, 0)


def test_who_comes_back_before_their_turn_is_not_skipped(room: SendingRoom) -> None:
    release_id = room.freeze()
    room.leave(BOB)
    room.change_subscription(BOB, ended_at=None, ended_reason=None)
    room.drain()
    assert room.outcome(release_id, BOB) == ("accepted", None)


def test_a_deferred_recipient_who_leaves_is_skipped_at_the_next_attempt(
    room: SendingRoom,
) -> None:
    room.relay.answer(BOB, at="rcpt", reply="450 4.2.2 Mailbox busy")
    release_id = room.publish()
    room.drain()
    room.leave(BOB)
    room.later(seconds=2)
    room.sweep()
    room.drain()
    assert room.receipt(release_id).state == "done"
    assert room.outcome(release_id, BOB) == ("skipped", "left")
    assert room.received()[BOB] == 0


def test_nobody_gets_mail_who_left_more_than_fifty_recipients_ago(
    empty_room: SendingRoom,
) -> None:
    people = crowd(240)
    empty_room.add_followers(*people)
    batch = people[:60]
    release_id = empty_room.publish()
    with empty_room.drained_while_silent_to(batch[0]):
        # The first fifty have been looked up.
        empty_room.leave(batch[50])
        empty_room.leave(batch[-1])
    assert empty_room.outcome(release_id, batch[50]) == ("skipped", "left")
    assert empty_room.outcome(release_id, batch[-1]) == ("skipped", "left")
    assert empty_room.receipt(release_id).accepted == 238


def test_what_several_ask_at_once_is_one_question_and_everybody_gets_their_own_answer(
    empty_room: SendingRoom,
) -> None:
    empty_room.add_followers(*crowd(90))
    empty_room.erase(empty_room.subscription(crowd(90)[7]).id)
    ids = [one.id for one in empty_room.rows(Subscription)]
    asked = [ids[:50], ids[50:], [*ids[:3], 999_999]]

    async def ask() -> tuple[list[list[Recipient]], int]:
        database = _Counting(asyncio.Event())
        loader = RecipientLoader(database, LetterComposer(empty_room.settings))
        try:
            return list(await asyncio.gather(*map(loader.look_up, asked))), database.questions
        finally:
            database.close()

    answers, questions = asyncio.run(ask())
    assert questions == 1
    assert [one.address for one in answers[1]] == crowd(90)[50:]
    assert [one.skip for one in answers[0]] == [None] * 7 + ["gone"] + [None] * 42
    assert [one.skip for one in answers[2]] == [None, None, None, "gone"]


class _Counting(DatabaseThread):
    questions = 0

    async def run_statement(self, work: Callable[[Connection], T]) -> T:
        self.questions += 1
        return await super().run_statement(work)


class _Away(DatabaseThread):
    looks = 0

    async def run_statement(self, work: Callable[[Connection], T]) -> T:
        self.looks += 1
        await asyncio.sleep(0)
        raise Abandoned


def test_connections_give_up_together_when_the_database_is_away_at_shutdown(
    empty_room: SendingRoom,
) -> None:
    async def ask() -> tuple[list[BaseException | Acknowledged], int]:
        database = _Away(asyncio.Event())
        loader = RecipientLoader(database, LetterComposer(empty_room.settings))
        waiting = [loader.state_since(1, time.monotonic()) for _ in range(16)]
        try:
            return await asyncio.gather(*waiting, return_exceptions=True), database.looks
        finally:
            database.close()

    answers, looks = asyncio.run(ask())
    assert [type(one) for one in answers] == [Abandoned] * 16
    assert looks == 1


def test_the_state_of_a_release_is_read_anew_for_who_connects_after_a_look(
    room: SendingRoom,
) -> None:
    release_id = room.freeze()

    async def ask() -> tuple[list[str], int]:
        database = _Counting(asyncio.Event())
        loader = RecipientLoader(database, LetterComposer(room.settings))
        connected_at = time.monotonic()
        try:
            together = await asyncio.gather(
                *(loader.state_since(release_id, connected_at) for _ in range(16))
            )
            room.pause(release_id)
            later = await loader.state_since(release_id, time.monotonic())
            return [one.state for one in [*together, later]], database.questions
        finally:
            database.close()

    states, looks = asyncio.run(ask())
    assert states == ["sending"] * 16 + ["paused"]
    assert looks == 2
