"""Lost connections: the same message again, and never a recipient without it."""

from __future__ import annotations

from collections import Counter

import pytest

from mailer.storage.models import Uncertain
from tests.fanout.press_room import BOB, FOLLOWERS, SendingRoom
from tests.relay import DROP, Stage


def again(room: SendingRoom) -> None:
    """Let the time until the next attempt pass, and send."""
    room.later(seconds=2)
    room.sweep()
    room.drain()


@pytest.mark.parametrize("at", ["rcpt", "data"])
def test_a_connection_lost_before_the_message_is_taken_costs_nothing(
    room: SendingRoom, at: Stage
) -> None:
    room.relay.answer(BOB, at=at, reply=DROP, times=1)
    release_id = room.publish()
    room.drain()
    assert room.receipt(release_id).state == "done"
    assert room.received() == Counter(FOLLOWERS)
    assert room.relay.connections == 2


def test_after_an_unanswered_dot_the_same_message_comes_again_later_and_is_uncertain(
    room: SendingRoom,
) -> None:
    room.relay.answer(BOB, at="taken", reply=DROP, times=1)
    release_id = room.publish()
    room.drain()
    assert room.received() == Counter(FOLLOWERS)
    assert room.receipt(release_id).deferred == 1
    again(room)
    first, second = (one.message for one in room.relay.received if one.recipient == BOB)
    assert first["Message-ID"] == second["Message-ID"]
    assert room.received() == Counter([*FOLLOWERS, BOB])
    receipt = room.receipt(release_id)
    assert (receipt.state, receipt.accepted, receipt.uncertain) == ("done", 5, 1)
    assert room.uncertain(release_id) == {BOB}
    assert [one.reason for one in room.rows(Uncertain)] == ["unanswered"]


def test_after_the_second_unanswered_dot_nothing_is_sent_again(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="taken", reply=DROP)
    release_id = room.publish()
    room.drain()
    for _ in range(3):
        again(room)
    assert room.received() == Counter([*FOLLOWERS, BOB])
    assert room.receipt(release_id).state == "done"
    assert room.outcome(release_id, BOB) == ("skipped", "unanswered")
    assert room.uncertain(release_id) == {BOB}


def test_a_dot_that_was_lost_before_it_was_taken_is_uncertain_too(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="dot", reply=DROP, times=1)
    release_id = room.publish()
    room.drain()
    assert room.uncertain(release_id) == {BOB}


def test_what_is_lost_before_the_dot_is_not_uncertain(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="data", reply=DROP, times=1)
    release_id = room.publish()
    room.drain()
    assert room.receipt(release_id).uncertain == 0


def test_two_losses_of_one_recipient_defer_them_and_the_batch_goes_on(
    room: SendingRoom,
) -> None:
    room.relay.answer(BOB, at="data", reply=DROP, times=2)
    release_id = room.publish()
    room.drain()
    receipt = room.receipt(release_id)
    assert (receipt.state, receipt.accepted, receipt.deferred) == ("sending", 4, 1)
    assert room.outcome(release_id, BOB) == ("deferred", "4.4.2")
    again(room)
    assert room.receipt(release_id).state == "done"
    assert room.received() == Counter(FOLLOWERS)


def test_a_loss_is_forgotten_at_the_next_recipient(room: SendingRoom) -> None:
    for one in FOLLOWERS:
        room.relay.answer(one, at="data", reply=DROP, times=1)
    release_id = room.publish()
    room.drain()
    assert room.receipt(release_id).accepted == 5
    assert room.received() == Counter(FOLLOWERS)


def test_a_message_is_the_same_at_every_attempt_days_later(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="taken", reply="450 4.2.2 Busy", times=1)
    room.publish()
    room.drain()
    room.later(minutes=1)
    room.sweep()
    room.drain()
    first, second = (one.content for one in room.relay.received if one.recipient == BOB)
    dates = {one.message["Message-ID"] for one in room.relay.received}
    assert first.partition(b"Date:")[0] == second.partition(b"Date:")[0]
    assert len(dates) == len(FOLLOWERS)


def test_a_relay_that_is_away_marks_nobody_and_the_release_waits_for_it(
    room: SendingRoom,
) -> None:
    room.relay.stop()
    release_id = room.publish()
    room.drain()
    receipt = room.receipt(release_id)
    assert (receipt.state, receipt.waiting) == ("sending", 5)
    room.relay.start()
    room.later(seconds=11)
    room.drain()
    assert room.receipt(release_id).state == "done"
    assert room.received() == Counter(FOLLOWERS)


def test_a_relay_that_dies_in_the_middle_costs_at_most_what_was_on_its_way(
    room: SendingRoom,
) -> None:
    release_id = room.publish()
    with room.draining():
        room.relay.wait_for(2)
        room.relay.stop()
    room.relay.start()
    room.later(seconds=11)
    room.sweep()
    room.drain()
    assert room.receipt(release_id).state == "done"
    twice = room.received() - Counter(FOLLOWERS)
    assert set(room.received()) == set(FOLLOWERS)
    assert twice.total() <= 1
    assert set(twice) <= room.uncertain(release_id)


def test_many_who_find_the_relay_away_say_so_once(
    room: SendingRoom, caplog: pytest.LogCaptureFixture
) -> None:
    room.adjust(connections=4)
    room.relay.stop()
    room.freeze(connections=4)
    with caplog.at_level("WARNING"):
        room.drain()
    assert sum("takes no connection" in message for message in caplog.messages) == 1
