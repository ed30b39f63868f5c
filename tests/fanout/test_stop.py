"""Stopping and resuming: the receipt says exactly how many were sent."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from mailer.domain.releases import receipts
from mailer.errors import Conflict, NotFound
from mailer.storage.models import Batch, Outcome
from tests.fanout.press_room import ADA, BOB, CAI, DAG, EVA, FOLLOWERS, SendingRoom


def assert_exact(room: SendingRoom, release_id: int) -> None:
    """A stopped release accounts for everyone, and for what the relay really took."""
    receipt = room.receipt(release_id)
    assert receipt.state == "stopped"
    assert receipt.accepted + receipt.reasons.get("skipped", {}).get("stopped", 0) == receipt.total
    assert receipt.accepted == room.received().total()
    for one in FOLLOWERS:
        expected = ("accepted", None) if room.received()[one] else ("skipped", "stopped")
        assert room.outcome(release_id, one) == expected


def test_a_release_that_has_not_started_is_cancelled(room: SendingRoom) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for fields in ({"published_at": tomorrow}, {"hold_minutes": 60}, {}):
        release_id = room.publish(**fields)
        assert room.stop(release_id) == "stopped"
        room.later(hours=25)
        room.sweep()
        room.drain()
        assert room.receipt(release_id).total == 0
    assert not room.received()


def test_a_release_that_is_frozen_and_not_begun_goes_to_nobody(room: SendingRoom) -> None:
    release_id = room.freeze()
    assert room.stop(release_id) == "stopped"
    room.drain()
    assert room.receipt(release_id).skipped == 5
    assert_exact(room, release_id)


def test_a_running_release_is_stopped_once_no_lease_lives(room: SendingRoom) -> None:
    release_id = room.publish()
    with room.drained_while_silent_to(BOB):
        assert room.stop(release_id) == "stopping"
        assert room.stop(release_id) == "stopping"
    assert_exact(room, release_id)
    assert {CAI, DAG, EVA}.isdisjoint(room.received())
    assert room.stop(release_id) == "stopped"
    room.drain()
    assert_exact(room, release_id)


def test_a_sender_that_is_gone_does_not_keep_a_release_from_being_stopped(
    room: SendingRoom,
) -> None:
    release_id = room.freeze()
    assert room.claim() is not None
    assert room.stop(release_id) == "stopping"
    room.sweep()
    assert room.receipt(release_id).state == "stopping"
    room.later(minutes=2)
    room.sweep()
    assert_exact(room, release_id)


def test_who_is_deferred_when_a_release_is_stopped_is_skipped(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="rcpt", reply="450 4.2.2 Busy")
    release_id = room.publish()
    room.drain()
    assert room.stop(release_id) == "stopped"
    assert_exact(room, release_id)
    room.later(hours=1)
    room.sweep()
    room.drain()
    assert_exact(room, release_id)


def test_who_is_in_a_retry_batch_when_a_release_is_stopped_is_skipped(
    room: SendingRoom,
) -> None:
    room.relay.answer(BOB, at="rcpt", reply="450 4.2.2 Busy")
    release_id = room.publish()
    room.drain()
    room.later(hours=1)
    room.sweep()
    assert any(batch.kind == "retry" and batch.open for batch in room.rows(Batch))
    assert room.stop(release_id) == "stopped"
    assert_exact(room, release_id)


def test_a_paused_release_can_be_stopped(room: SendingRoom) -> None:
    room.relay.answer(at="mail", reply="550 5.7.1 Not you")
    release_id = room.publish()
    room.drain()
    assert room.stop(release_id) == "stopped"
    assert_exact(room, release_id)


def test_a_release_that_is_done_cannot_be_stopped_and_one_that_is_stopped_not_resumed(
    room: SendingRoom,
) -> None:
    done = room.publish()
    room.drain()
    with pytest.raises(Conflict):
        room.stop(done)
    stopped = room.publish()
    room.stop(stopped)
    with pytest.raises(Conflict):
        room.resume(stopped)


def test_a_held_release_goes_out_when_it_is_resumed(room: SendingRoom) -> None:
    release_id = room.publish(hold_minutes=60)
    room.drain()
    assert room.receipt(release_id).state == "held"
    assert room.resume(release_id) == "sending"
    assert room.resume(release_id) == "sending"
    room.drain()
    assert room.received() == Counter(FOLLOWERS)


def test_each_fate_of_a_recipient_is_told(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="rcpt", reply="550 5.7.1 Not you")
    room.relay.answer(CAI, at="rcpt", reply="450 4.2.2 Busy")
    release_id = room.freeze()
    room.leave(DAG)
    assert room.outcome(release_id, ADA) == ("waiting", None)
    room.drain()
    assert room.outcome(release_id, ADA) == ("accepted", None)
    assert room.outcome(release_id, BOB) == ("refused", "5.7.1")
    assert room.outcome(release_id, CAI) == ("deferred", "4.2.2")
    assert room.outcome(release_id, DAG) == ("skipped", "left")
    with pytest.raises(NotFound):
        receipts.recipient(room.publisher, release_id, "nobody@example.org")
    assert room.receipt(release_id).reasons == {
        "refused": {"5.7.1": 1},
        "deferred": {"4.2.2": 1},
        "skipped": {"left": 1},
    }
    assert len(room.rows(Outcome)) == 3


def test_a_sender_that_is_told_to_leave_gives_back_what_it_holds(room: SendingRoom) -> None:
    release_id = room.publish()
    with room.drained_while_silent_to(BOB) as leave:
        leave()
    assert not any(batch.lease_until for batch in room.rows(Batch))
    assert room.receipt(release_id).accepted == room.received().total()
    room.drain()
    assert room.received() == Counter(FOLLOWERS)
    assert room.receipt(release_id).uncertain == 0
