"""Judging on the way: what an answer of the relay does to recipient, batch and release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import update

from mailer.domain.releases.receipts import Receipt
from mailer.fanout.outcomes import Finding, write_findings
from mailer.fanout.replies import Verdict
from mailer.storage.database import transaction
from mailer.storage.models import Batch, Outcome, Subscriber
from tests.fanout.press_room import ADA, BOB, CAI, DAG, EVA, FOLLOWERS, SendingRoom
from tests.relay import Stage


def sums(receipt: Receipt) -> tuple[str, int, int, int, int]:
    """Give what a finished, or unfinished, release comes to."""
    return receipt.state, receipt.accepted, receipt.refused, receipt.deferred, receipt.waiting


def resend(room: SendingRoom, **time: float) -> None:
    """Let time pass, go round, and send."""
    room.later(**time)
    room.sweep()
    room.drain()


@pytest.mark.parametrize("at", ["rcpt", "dot"])
@pytest.mark.parametrize(
    ("reply", "reason", "suppressed"),
    [
        ("550 5.1.1 No such user", "5.1.1", {BOB}),
        ("550 5.1.10 Null MX", "5.1.10", {BOB}),
        ("552 5.2.2 Mailbox full", "5.2.2", set()),
        ("550 5.7.1 Not from you", "5.7.1", set()),
        ("553 No", "553", set()),
    ],
)
def test_a_refused_recipient_is_written_down_and_the_others_get_theirs(
    room: SendingRoom, at: Stage, reply: str, reason: str, suppressed: set[str]
) -> None:
    room.relay.answer(BOB, at=at, reply=reply)
    release_id = room.publish()
    room.drain()
    assert sums(room.receipt(release_id)) == ("done", 4, 1, 0, 0)
    assert room.outcome(release_id, BOB) == ("refused", reason)
    assert room.suppressed() == suppressed
    assert room.received() == Counter({ADA, CAI, DAG, EVA})


def test_who_cannot_be_written_to_is_refused_and_holds_nobody_up(room: SendingRoom) -> None:
    with transaction() as session:
        nobody = update(Subscriber).where(Subscriber.address == BOB)
        session.execute(nobody.values(address="bob@example.org\r\nBcc: all@example.org"))
    release_id = room.publish()
    room.drain()
    receipt = room.receipt(release_id)
    assert sums(receipt) == ("done", 4, 1, 0, 0)
    assert receipt.reasons["refused"] == {"unsendable": 1}
    assert room.received() == Counter({ADA, CAI, DAG, EVA})


def test_who_is_suppressed_is_left_out_of_the_next_release(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="rcpt", reply="550 5.1.1 No such user", times=1)
    room.publish()
    room.drain()
    assert room.receipt(room.freeze()).total == 4


@pytest.mark.parametrize("at", ["rcpt", "dot"])
def test_a_deferred_recipient_is_tried_again_and_then_as_if_nothing_had_been(
    room: SendingRoom, at: Stage
) -> None:
    room.relay.answer(BOB, at=at, reply="450 4.2.2 Mailbox busy", times=1)
    release_id = room.publish()
    room.drain()
    assert sums(room.receipt(release_id)) == ("sending", 4, 0, 1, 0)
    assert room.outcome(release_id, BOB) == ("deferred", "4.2.2")
    resend(room, seconds=2)
    assert sums(room.receipt(release_id)) == ("done", 5, 0, 0, 0)
    assert room.outcome(release_id, BOB) == ("accepted", None)
    assert not room.rows(Outcome)
    assert room.received() == Counter(FOLLOWERS)
    assert [batch.kind for batch in room.rows(Batch)].count("retry") == 1


def test_nobody_is_tried_again_before_their_time(room: SendingRoom) -> None:
    room.adjust(retry_seconds=300)
    room.relay.answer(BOB, at="rcpt", reply="450 4.2.2 Mailbox busy", times=1)
    release_id = room.publish()
    room.drain()
    resend(room, seconds=290)
    assert room.receipt(release_id).deferred == 1
    resend(room, seconds=11)
    assert room.receipt(release_id).accepted == 5


def test_the_waits_between_attempts_double_up_to_four_hours(room: SendingRoom) -> None:
    release_id = room.freeze()
    taken = room.claim()
    assert taken is not None
    busy = Finding(taken.members[0], ADA, Verdict("deferred", "4.2.2"))
    waits = []
    for _ in range(12):
        with transaction() as session:
            write_findings(session, taken, [busy], 300)
            outcome = session.get_one(Outcome, (release_id, taken.members[0]))
            session.refresh(outcome)
            assert outcome.next_at is not None
            waits.append(round((outcome.next_at / 1000 - outcome.at.timestamp()) / 60))
            outcome.next_at = None  # as a retry batch does
    assert waits == [5, 10, 20, 40, 80, 160, 240, 240, 240, 240, 240, 240]


def test_two_days_are_the_most_that_anybody_is_tried(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="rcpt", reply="450 4.2.2 Mailbox busy")
    release_id = room.publish()
    room.drain()
    resend(room, hours=47)
    assert room.outcome(release_id, BOB) == ("deferred", "4.2.2")
    room.later(hours=2)
    room.sweep()
    assert sums(room.receipt(release_id)) == ("done", 4, 1, 0, 0)
    assert room.outcome(release_id, BOB) == ("refused", "expired")
    assert not room.suppressed()


@pytest.fixture(params=["pipelining", "step by step"])
def either_way(request: pytest.FixtureRequest, room: SendingRoom) -> Iterator[None]:
    """The relay takes commands all together, or only one at a time."""
    room.relay.pipelining = request.param == "pipelining"
    yield
    room.relay.pipelining = True


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("at", "reply"),
    [
        ("connect", "421 4.3.2 Not now"),
        ("connect", "450 4.7.0 Greylisted"),
        ("mail", "421 4.3.2 Shutting down"),
        ("mail", "451 4.3.0 Try later"),
        ("rcpt", "421 4.3.2 Shutting down"),
        ("rcpt", "452 4.5.3 Too much"),
        ("dot", "421 4.3.2 Shutting down"),
        ("dot", "452 4.3.1 Disk full"),
        ("dot", "451 4.3.0 Try later"),
    ],
)
def test_an_overloaded_relay_is_left_alone_and_nobody_is_marked(
    room: SendingRoom, at: Stage, reply: str
) -> None:
    room.relay.answer(at=at, reply=reply)
    release_id = room.publish()
    room.drain()
    assert sums(room.receipt(release_id)) == ("sending", 0, 0, 0, 5)
    assert not room.rows(Outcome)
    assert all(batch.not_before for batch in room.rows(Batch))
    room.relay.reset()
    room.drain()
    assert not room.received()
    resend(room, seconds=11)
    assert sums(room.receipt(release_id)) == ("done", 5, 0, 0, 0)
    assert room.received() == Counter(FOLLOWERS)


@pytest.mark.parametrize(
    ("at", "reply"),
    [
        ("connect", "554 5.7.1 You are on a list"),
        ("mail", "550 5.7.1 Sender not allowed"),
        ("mail", "552 5.3.4 Too big"),
    ],
)
def test_a_relay_that_refuses_us_pauses_the_release_and_blames_nobody(
    room: SendingRoom, at: Stage, reply: str
) -> None:
    room.relay.answer(at=at, reply=reply)
    release_id = room.publish()
    room.drain()
    assert sums(room.receipt(release_id)) == ("paused", 0, 0, 0, 5)
    assert reply.split()[1] in (room.release(release_id).paused_because or "")
    assert not room.suppressed()
    room.relay.reset()
    room.drain()
    assert not room.received()
    room.resume(release_id)
    room.drain()
    assert sums(room.receipt(release_id)) == ("done", 5, 0, 0, 0)
    assert room.release(release_id).paused_because is None
    assert room.received() == Counter(FOLLOWERS)


def test_a_server_that_wants_a_body_for_a_refused_recipient_delivers_nothing_to_them(
    room: SendingRoom,
) -> None:
    room.relay.always_354 = True
    room.relay.answer(BOB, at="rcpt", reply="550 5.7.1 Not you")
    release_id = room.publish()
    room.drain()
    assert sums(room.receipt(release_id)) == ("done", 4, 1, 0, 0)
    assert room.outcome(release_id, BOB) == ("refused", "5.7.1")
    assert room.received() == Counter({ADA, CAI, DAG, EVA})
    assert {one.message["To"] for one in room.relay.received} == {ADA, CAI, DAG, EVA}


@pytest.mark.parametrize("at", ["rcpt", "dot"])
def test_a_refusal_leaves_the_connection_usable(room: SendingRoom, at: Stage) -> None:
    room.relay.answer(BOB, at=at, reply="550 5.7.1 Not you")
    room.publish()
    room.drain()
    assert room.relay.connections == 1
