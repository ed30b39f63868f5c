"""Sending a release again to those who were refused, once the reason is mended."""

from __future__ import annotations

from collections import Counter

import pytest

from mailer.domain.releases import lifecycle
from mailer.errors import Conflict
from tests.fanout.press_room import BOB, FOLLOWERS, SendingRoom
from tests.relay import DROP


def retry(room: SendingRoom, release_id: int, kind: str, reason: str) -> int:
    """Reopen a release for some of its recipients, and send."""
    number = lifecycle.retry(room.settings, room.publisher, release_id, kind, reason)
    room.sweep()
    room.drain()
    return number


def test_who_was_refused_gets_it_and_the_refusal_stays_in_their_history(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="rcpt", reply="550 5.7.26 No DMARC", times=1)
    release_id = room.publish()
    room.drain()
    assert room.outcome(release_id, BOB) == ("refused", "5.7.26")
    assert retry(room, release_id, "refused", "5.7.1") == 0
    assert room.receipt(release_id).state == "done"
    assert retry(room, release_id, "refused", "5.7.26") == 1
    receipt = room.receipt(release_id)
    assert (receipt.state, receipt.accepted, receipt.refused) == ("done", 5, 0)
    assert room.received() == Counter(FOLLOWERS)
    found = room.recipient(release_id, BOB)
    assert (found["state"], [(one["state"], one["reason"]) for one in found["before"]]) == (
        "accepted",
        [("refused", "5.7.26")],
    )


def test_who_did_not_answer_gets_it_once_more(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="taken", reply=DROP)
    release_id = room.publish()
    for _ in range(2):
        room.drain()
        room.later(seconds=2)
        room.sweep()
    room.drain()
    assert room.outcome(release_id, BOB) == ("skipped", "unanswered")
    assert retry(room, release_id, "skipped", "unanswered") == 1
    room.later(hours=1)
    room.sweep()
    room.drain()
    assert room.received()[BOB] == 3
    assert room.outcome(release_id, BOB) == ("skipped", "unanswered")
    assert room.receipt(release_id).state == "done"


def test_nothing_is_sent_again_that_a_newer_version_replaces_or_that_was_stopped(
    room: SendingRoom,
) -> None:
    room.relay.answer(BOB, at="rcpt", reply="550 5.7.1 No", times=1)
    first = room.publish()
    room.drain()
    room.correct(first, title="Skuta er hjemme igjen")
    with pytest.raises(Conflict, match="newer version"):
        retry(room, first, "refused", "5.7.1")
    stopped = room.publish()
    room.stop(stopped)
    with pytest.raises(Conflict, match="stopped"):
        retry(room, stopped, "refused", "5.7.1")


def test_everything_that_is_paused_goes_on_by_one_command(room: SendingRoom) -> None:
    paused = [room.publish(), room.publish()]
    for release_id in paused:
        room.pause(release_id)
    going = room.publish()
    assert [release.id for _, release in lifecycle.paused_releases()] == paused
    assert lifecycle.resume_all(room.settings) == paused
    assert lifecycle.resume_all(room.settings) == []
    room.drain()
    assert {room.receipt(one).state for one in (*paused, going)} == {"done"}


def test_the_log_says_that_a_release_pauses_and_why_and_names_no_address(
    room: SendingRoom, caplog: pytest.LogCaptureFixture
) -> None:
    room.relay.answer(at="rcpt", reply="550 5.7.1 Not from you")
    release_id = room.publish()
    room.drain()
    because = room.release(release_id).paused_because
    assert f"Release {release_id} is paused: {because}" in caplog.messages
    assert not any("@" in message for message in caplog.messages)
