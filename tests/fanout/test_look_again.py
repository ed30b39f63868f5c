"""Looking again: who leaves between the freeze and their turn gets nothing any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.fanout.room import ADA, BOB, CAI, CAST, DAG, EVA, Room, crowd
from tests.processes import eventually
from tests.relay import SILENCE

Goodbye = Callable[[Room, str], None]
GOODBYES = [(Room.leave, "left"), (Room.erase, "gone"), (Room.suppress, "suppressed")]


@pytest.mark.parametrize(("goodbye", "reason"), GOODBYES)
def test_who_is_lost_after_the_freeze_is_skipped(room: Room, goodbye: Goodbye, reason: str) -> None:
    release_id = room.freeze()
    goodbye(room, BOB)
    room.drain()
    receipt = room.receipt(release_id)
    assert (receipt.state, receipt.accepted, receipt.skipped) == ("done", 4, 1)
    assert receipt.reasons["skipped"] == {reason: 1}
    assert room.received() == Counter({ADA, CAI, DAG, EVA})


def test_everybody_may_leave(room: Room) -> None:
    release_id = room.freeze()
    for one in CAST:
        room.leave(one)
    room.drain()
    receipt = room.receipt(release_id)
    assert (receipt.state, receipt.skipped, room.relay.connections) == ("done", 5, 0)


def test_who_comes_back_before_their_turn_is_not_skipped(room: Room) -> None:
    release_id = room.freeze()
    room.leave(BOB)
    room.change(BOB, ended_at=None, ended_reason=None)
    room.drain()
    assert room.fate(release_id, BOB) == ("accepted", None)


def test_a_deferred_recipient_who_leaves_is_skipped_at_the_next_attempt(room: Room) -> None:
    room.relay.answer(BOB, at="rcpt", reply="450 4.2.2 Mailbox busy")
    release_id = room.publish()
    room.drain()
    room.leave(BOB)
    room.later(seconds=2)
    room.sweep()
    room.drain()
    assert room.receipt(release_id).state == "done"
    assert room.fate(release_id, BOB) == ("skipped", "left")
    assert room.received()[BOB] == 0


def test_nobody_gets_mail_who_left_more_than_fifty_recipients_ago(empty_room: Room) -> None:
    people = crowd(240)
    empty_room.follow(*people)
    batch = people[:60]
    empty_room.relay.answer(batch[0], at="rcpt", reply=SILENCE, times=1)
    empty_room.adjust(smtp_timeout_seconds=1)
    release_id = empty_room.publish()
    with empty_room.draining():
        # The first fifty have been looked up; the relay holds the very first.
        eventually(lambda: empty_room.relay.connections, "the relay is called")
        empty_room.leave(batch[50])
        empty_room.leave(batch[-1])
    assert empty_room.fate(release_id, batch[50]) == ("skipped", "left")
    assert empty_room.fate(release_id, batch[-1]) == ("skipped", "left")
    assert empty_room.receipt(release_id).accepted == 238
