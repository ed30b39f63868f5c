"""Letters of the outbox: each once, in time, and never behind a release."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from mailer.domain import publishers
from mailer.domain.followers import subscriptions
from mailer.domain.followers.subscriptions import Evidence
from mailer.fanout.answers.replies import Verdict
from mailer.fanout.delivery.outbox import drain_outbox
from mailer.fanout.outbox import (
    ClaimedMessage,
    claim_messages,
    finish_message,
    hand_back_message,
    messages_are_waiting,
)
from mailer.storage.database import transaction
from mailer.storage.models import OutboxMessage
from mailer.storage.queues import JOBS
from tests.fanout.press_room import ADA, FOLLOWERS, SendingRoom, together
from tests.relay import DROP, Stage
from tests.support.press_room import SLUG

FRI, GRO = "fri@example.org", "gro@example.net"
PROOF = Evidence(language="nb", page="test", network=None)


def ask(room: SendingRoom, address: str = FRI) -> None:
    """Sign up, so that a letter is due."""
    subscriptions.sign_up(room.settings, publishers.find(SLUG), address, PROOF)


def drain(room: SendingRoom) -> None:
    """Send the letters that are due."""
    asyncio.run(drain_outbox(room.settings, asyncio.Event()))


def claimed(room: SendingRoom) -> ClaimedMessage:
    """Claim the letter that is due."""
    with transaction() as session:
        [claimed] = claim_messages(session, room.settings.lease_seconds)
    return claimed


def test_a_letter_is_sent_once(room: SendingRoom) -> None:
    ask(room)
    drain(room)
    drain(room)
    [letter] = room.relay.received
    assert (letter.recipient, letter.message["To"]) == (FRI, FRI)
    [row] = room.rows(OutboxMessage)
    assert letter.message["Message-ID"] == f"<{row.message_id}>"
    assert (row.finished_at is not None, row.outcome) == (True, "accepted")


def test_each_step_of_a_subscription_has_its_letter(room: SendingRoom) -> None:
    ask(room)
    subscription_id = room.subscription(FRI).id
    for step in (subscriptions.confirm, subscriptions.unsubscribe):
        drain(room)
        step(room.settings, subscription_id, PROOF)
    drain(room)
    assert room.received() == Counter({FRI: 3})
    assert [row.kind for row in room.rows(OutboxMessage)] == ["confirm", "welcome", "goodbye"]


def test_two_drains_at_once_send_each_letter_once(room: SendingRoom) -> None:
    people = [f"guest{number}@example.org" for number in range(20)]
    for one in people:
        ask(room, one)
    together(lambda: drain(room), lambda: drain(room))
    assert room.received() == Counter(people)


@pytest.mark.parametrize(
    ("at", "reply"),
    [
        ("connect", "554 5.7.1 Not you"),
        ("mail", "451 4.3.0 Later"),
        ("mail", "550 5.7.1 Not this sender"),
        ("rcpt", "450 4.2.2 Busy"),
        ("dot", "451 4.7.1 Greylisted"),
        ("dot", DROP),
    ],
)
def test_a_letter_that_is_not_taken_now_is_taken_later(
    room: SendingRoom, at: Stage, reply: str
) -> None:
    ask(room)
    room.relay.answer(at=at, reply=reply, times=4)
    drain(room)
    assert not room.received()
    assert room.rows(OutboxMessage)[0].finished_at is None
    room.relay.reset()
    drain(room)
    assert not room.received()
    room.later(seconds=11)
    drain(room)
    assert room.received() == Counter({FRI: 1})


@pytest.mark.parametrize("at", ["rcpt", "dot"])
def test_a_refusal_may_be_our_fault_so_the_letter_is_tried_again(
    room: SendingRoom, at: Stage
) -> None:
    ask(room)
    room.relay.answer(FRI, at=at, reply="550 5.7.1 Not you", times=1)
    drain(room)
    assert room.rows(OutboxMessage)[0].outcome == "doubted 5.7.1"
    room.later(minutes=1)
    drain(room)
    assert room.received() == Counter({FRI: 1})


def test_a_letter_is_asked_for_five_times_with_growing_waits(room: SendingRoom) -> None:
    room.adjust(retry_seconds=300)
    ask(room)
    room.relay.answer(FRI, at="rcpt", reply="452 4.2.2 Full")
    waits: list[float] = []
    drain(room)
    while (due := room.rows(OutboxMessage)[0].not_before) is not None and len(waits) < 6:
        waits.append(due / 1000 - time.time())
        room.later(seconds=waits[-1] + 1)
        drain(room)
        if room.rows(OutboxMessage)[0].finished_at is not None:
            break
    assert [round(wait / 60) for wait in waits] == [5, 60, 240, 1440]
    assert room.rows(OutboxMessage)[0].attempts == 5


def test_a_welcome_is_not_sent_to_who_has_left_meanwhile(room: SendingRoom) -> None:
    ask(room)
    one = room.subscription(FRI).id
    subscriptions.confirm(room.settings, one, PROOF)
    subscriptions.unsubscribe(room.settings, one, PROOF)
    drain(room)
    outcomes = {row.kind: row.outcome for row in room.rows(OutboxMessage)}
    assert outcomes == {"confirm": "accepted", "welcome": "skipped left", "goodbye": "accepted"}


def test_after_the_second_unanswered_dot_a_letter_is_not_sent_again(room: SendingRoom) -> None:
    ask(room)
    room.relay.answer(FRI, at="taken", reply=DROP)
    for _ in range(3):
        drain(room)
        room.later(minutes=1)
    assert room.received() == Counter({FRI: 2})
    assert room.rows(OutboxMessage)[0].outcome == "unanswered 4.4.2"


def test_a_refused_letter_does_not_hold_up_the_next(room: SendingRoom) -> None:
    room.adjust(connections=1)
    ask(room)
    ask(room, GRO)
    room.relay.answer(FRI, at="rcpt", reply="550 5.1.1 No such user")
    drain(room)
    assert room.received() == Counter({GRO: 1})


def test_a_letter_stays_due_while_the_relay_is_away(room: SendingRoom) -> None:
    ask(room)
    room.relay.stop()
    drain(room)
    room.relay.start()
    room.later(seconds=11)
    drain(room)
    assert room.received() == Counter({FRI: 1})


def test_a_letter_is_given_up_after_two_days(room: SendingRoom) -> None:
    ask(room)
    room.relay.answer(FRI, at="rcpt", reply="450 4.2.2 Busy")
    drain(room)
    room.later(hours=49)
    drain(room)
    [row] = room.rows(OutboxMessage)
    assert (row.finished_at is not None, row.outcome) == (True, "deferred 4.2.2")


def test_a_letter_whose_sender_died_is_sent_by_another(room: SendingRoom) -> None:
    ask(room)
    old = claimed(room)
    drain(room)
    assert not room.received()
    room.later(minutes=2)
    room.sweep()
    with transaction() as session:
        finish_message(session, old, Verdict("accepted"), 1)
    assert room.rows(OutboxMessage)[0].finished_at is None
    drain(room)
    assert room.received() == Counter({FRI: 1})


def test_a_letter_to_an_erased_person_is_skipped(room: SendingRoom) -> None:
    ask(room)
    room.erase(room.subscription(FRI).id)
    drain(room)
    assert not room.received()
    assert room.rows(OutboxMessage)[0].outcome == "skipped gone"


def test_a_letter_that_could_not_be_tried_waits_and_has_all_its_tries(room: SendingRoom) -> None:
    ask(room)
    with transaction() as session:
        [claimed] = claim_messages(session, 60)
        hand_back_message(session, claimed, seconds=300)
        assert not messages_are_waiting(session)
    [letter] = room.rows(OutboxMessage)
    assert letter.attempts == 0
    assert (letter.not_before or 0) / 1000 - time.time() == pytest.approx(300, abs=60)
    room.later(seconds=301)
    drain(room)
    assert room.received() == Counter({FRI: 1})


def test_a_letter_never_waits_behind_a_release(room: SendingRoom) -> None:
    assert set(JOBS) == {"letters", "releases"}
    release_id = room.publish()
    with room.drained_while_silent_to(ADA):
        ask(room)
        drain(room)
        assert room.received()[FRI] == 1
    assert room.received() == Counter([*FOLLOWERS, FRI])
    assert room.receipt(release_id).state == "done"
