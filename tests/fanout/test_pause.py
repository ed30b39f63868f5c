"""Pausing: nothing comes until then, not even a correction, and the receipt says why."""

from __future__ import annotations

from collections import Counter

from tests.fanout.press_room import ADA, BOB, CAI, DAG, EVA, SendingRoom


def test_who_pauses_is_not_in_the_audience(room: SendingRoom) -> None:
    room.pause_reader(BOB)
    release_id = room.publish()
    room.drain()
    receipt = room.receipt(release_id)
    assert (receipt.state, receipt.total, receipt.accepted) == ("done", 4, 4)
    assert room.received() == Counter({ADA, CAI, DAG, EVA})


def test_a_pause_that_is_over_is_none(room: SendingRoom) -> None:
    room.pause_reader(BOB, seconds=-1)
    release_id = room.publish()
    room.drain()
    assert room.outcome(release_id, BOB) == ("accepted", None)


def test_a_pause_that_ends_before_their_turn_skips_nobody(room: SendingRoom) -> None:
    release_id = room.freeze()
    room.pause_reader(BOB, seconds=-1)
    room.drain()
    assert room.outcome(release_id, BOB) == ("accepted", None)


def test_who_begins_a_pause_after_the_freeze_is_skipped_and_said_to_be(
    room: SendingRoom,
) -> None:
    release_id = room.freeze()
    room.pause_reader(BOB, seconds=30)
    room.drain()
    receipt = room.receipt(release_id)
    assert (receipt.state, receipt.accepted, receipt.skipped) == ("done", 4, 1)
    assert receipt.reasons["skipped"] == {"paused": 1}
    assert room.outcome(release_id, BOB) == ("skipped", "paused")


def test_a_correction_does_not_disturb_a_pause(room: SendingRoom) -> None:
    first = room.publish()
    room.drain()
    room.pause_reader(BOB)
    second = room.correct(first, title="Båten er borte igjen")
    room.drain()
    assert room.received() == Counter({ADA: 2, BOB: 1, CAI: 2, DAG: 2, EVA: 2})
    assert room.outcome(second, BOB) == ("skipped", "paused")


def test_what_came_out_during_a_pause_is_not_made_up_for_by_its_correction(
    room: SendingRoom,
) -> None:
    room.pause_reader(BOB)
    first = room.publish()
    room.drain()
    room.pause_reader(BOB, seconds=-1)
    room.correct(first, title="Båten er borte igjen")
    room.drain()
    assert room.received() == Counter({ADA: 2, CAI: 2, DAG: 2, EVA: 2})
