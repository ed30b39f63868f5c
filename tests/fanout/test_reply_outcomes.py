"""Judging on the way: what an answer of the relay does to recipient, batch and release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import update

from mailer.domain.releases.receipts import Receipt
from mailer.fanout.acknowledgements import write
from mailer.fanout.batches import Claim
from mailer.fanout.outcomes import Progress
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
    ("reply", "reason"),
    [
        ("550 5.1.1 No such user", "5.1.1"),
        ("552 5.2.2 Mailbox full", "5.2.2"),
        ("550 5.7.1 Not from you", "5.7.1"),
        ("553 No", "553"),
    ],
)
def test_a_refusal_is_believed_once_a_later_recipient_is_accepted(
    room: SendingRoom, at: Stage, reply: str, reason: str
) -> None:
    room.relay.answer(BOB, at=at, reply=reply)
    release_id = room.publish()
    room.drain()
    assert sums(room.receipt(release_id)) == ("done", 4, 1, 0, 0)
    assert room.outcome(release_id, BOB) == ("refused", reason)
    assert not room.suppressed()
    assert room.received() == Counter({ADA, CAI, DAG, EVA})


def test_a_refusal_that_nothing_follows_is_believed_after_a_day(room: SendingRoom) -> None:
    room.relay.answer(EVA, at="rcpt", reply="550 5.1.1 No such user")
    release_id = room.publish()
    room.drain()
    for hours in (0.9, 0.2, 22):
        assert sums(room.receipt(release_id)) == ("sending", 4, 0, 1, 0)
        resend(room, hours=hours)
    resend(room, hours=2)
    assert sums(room.receipt(release_id)) == ("done", 4, 1, 0, 0)
    assert room.outcome(release_id, EVA) == ("refused", "5.1.1")


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


def test_the_waits_between_attempts_double_up_to_four_hours_and_the_18th_is_the_last(
    room: SendingRoom,
) -> None:
    room.adjust(retry_seconds=300)
    room.relay.answer(BOB, at="rcpt", reply="450 4.2.2 Mailbox busy")
    release_id = room.publish()
    room.drain()
    waits: list[int] = []
    while room.receipt(release_id).state == "sending":
        [outcome] = room.rows(Outcome)
        assert outcome.next_at is not None
        wait = outcome.next_at / 1000 - outcome.at.timestamp()
        waits.append(round(wait / 60))
        resend(room, seconds=wait)
    assert waits == [5, 10, 20, 40, 80, 160, *[240] * 11]
    assert room.outcome(release_id, BOB) == ("refused", "expired")
    assert not room.suppressed()


def test_a_release_in_which_nobody_was_accepted_gives_nobody_up(room: SendingRoom) -> None:
    room.relay.answer(at="rcpt", reply="451 4.3.0 Try later")
    release_id = room.publish()
    room.drain()
    for _ in range(17):
        resend(room, hours=4)
    assert sums(room.receipt(release_id)) == ("paused", 0, 0, 5, 0)
    room.relay.reset()
    room.resume(release_id)
    resend(room, seconds=0)
    assert sums(room.receipt(release_id)) == ("done", 5, 0, 0, 0)


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
    ],
)
def test_what_is_answered_before_a_recipient_is_nobodys(
    room: SendingRoom, at: Stage, reply: str
) -> None:
    room.relay.answer(at=at, reply=reply)
    release_id = room.publish()
    room.drain()
    assert sums(room.receipt(release_id)) == ("sending", 0, 0, 0, 5)
    assert not room.rows(Outcome)
    room.relay.reset()
    room.drain()
    assert not room.received()
    resend(room, seconds=11)
    assert sums(room.receipt(release_id)) == ("done", 5, 0, 0, 0)
    assert room.received() == Counter(FOLLOWERS)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("at", ["rcpt", "dot"])
@pytest.mark.parametrize(
    "reply", ["421 4.3.2 Shutting down", "452 4.5.3 Too much", "451 4.3.0 Try later"]
)
def test_whom_a_temporary_refusal_meets_is_deferred_whatever_its_code(
    room: SendingRoom, at: Stage, reply: str
) -> None:
    # After a 421, which closes the connection, the same recipient is tried once more.
    room.relay.answer(BOB, at=at, reply=reply, times=2 if reply.startswith("421") else 1)
    release_id = room.publish()
    room.drain()
    assert sums(room.receipt(release_id)) == ("sending", 4, 0, 1, 0)
    assert room.outcome(release_id, BOB) == ("deferred", reply.split()[1])
    resend(room, seconds=2)
    assert sums(room.receipt(release_id)) == ("done", 5, 0, 0, 0)
    assert room.received() == Counter(FOLLOWERS)


@pytest.mark.parametrize("reply", ["550 5.7.1 Sender not allowed", "552 5.3.4 Too big"])
def test_a_sender_who_is_refused_for_two_minutes_pauses_the_release(
    room: SendingRoom, reply: str
) -> None:
    room.relay.answer(at="mail", reply=reply)
    release_id = room.publish()
    room.drain()
    for seconds in (2, 4, 8, 16, 32, 64):
        assert room.receipt(release_id).state == "sending"
        resend(room, seconds=seconds + 1)
    assert sums(room.receipt(release_id)) == ("paused", 0, 0, 0, 5)
    assert reply.split()[1] in (room.release(release_id).paused_because or "")
    room.relay.reset()
    room.drain()
    assert not room.received()
    room.resume(release_id)
    room.drain()
    assert sums(room.receipt(release_id)) == ("done", 5, 0, 0, 0)
    assert room.release(release_id).paused_because is None
    assert room.received() == Counter(FOLLOWERS)


def test_what_was_begun_before_a_resume_does_not_pause_the_release_again(
    room: SendingRoom,
) -> None:
    """Two connections meet the same mistake; it is mended before the second has told."""
    release_id = room.freeze()
    first, second = room.claim(), room.claim()
    assert first is not None
    assert second is not None

    def complain(taken: Claim) -> str:
        with transaction() as session:
            back = Progress(taken, 0, hand_back=True, pause_because="The relay refuses us.")
            write(session.connection(), [back], room.settings)
        return room.release(release_id).state

    assert complain(first) == "paused"
    room.later(seconds=1)
    assert room.resume(release_id) == "sending"
    assert complain(second) == "sending"
    third = room.claim()
    assert third is not None
    assert complain(third) == "paused"


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
