"""Refusals in a row: when everybody is refused alike, the fault is ours, and nobody is blamed."""

from __future__ import annotations

from collections import Counter

import pytest
from aiosmtpd.smtp import AuthResult
from sqlalchemy import select

from mailer.fanout.acknowledgements import write
from mailer.fanout.batches import Claim
from mailer.fanout.outcomes import Progress
from mailer.relay import Relay as RelaySetting
from mailer.storage.database import database_now, read_transaction, transaction
from mailer.storage.models import Outcome
from tests.fanout.press_room import FOLLOWERS, SendingRoom, crowd
from tests.processes import eventually
from tests.relay import Relay, Stage


@pytest.mark.parametrize("at", ["rcpt", "dot"])
@pytest.mark.parametrize("reply", ["550 5.7.1 Not from you", "550 5.1.1 No such user"])
def test_twenty_equal_refusals_in_a_row_pause_the_release_and_blame_nobody(
    empty_room: SendingRoom, at: Stage, reply: str
) -> None:
    people = crowd(20)
    empty_room.add_followers(*people)
    empty_room.relay.answer(at=at, reply=reply)
    release_id = empty_room.publish()
    empty_room.drain()
    receipt = empty_room.receipt(release_id)
    assert (receipt.state, receipt.accepted, receipt.refused) == ("paused", 0, 0)
    assert reply.split()[1] in (empty_room.release(release_id).paused_because or "")
    assert not empty_room.suppressed()
    empty_room.relay.reset()
    empty_room.resume(release_id)
    empty_room.later(seconds=1)
    empty_room.sweep()
    empty_room.drain()
    assert empty_room.receipt(release_id).state == "done"
    assert empty_room.received() == Counter(people)
    assert not empty_room.rows(Outcome)


@pytest.mark.parametrize("connections", [1, 8])
def test_who_is_refused_while_the_pause_is_written_down_is_not_blamed_either(
    empty_room: SendingRoom, connections: int
) -> None:
    people = crowd(60)
    empty_room.add_followers(*people)
    empty_room.adjust(connections=connections)
    empty_room.relay.answer(at="rcpt", reply="550 5.1.1 No such user")
    release_id = empty_room.publish()
    empty_room.drain()
    receipt = empty_room.receipt(release_id)
    assert (receipt.state, receipt.accepted, receipt.refused) == ("paused", 0, 0)
    assert not empty_room.suppressed()


def test_who_is_not_to_blame_is_tried_however_long_the_release_was_paused(
    empty_room: SendingRoom,
) -> None:
    people = crowd(20)
    empty_room.add_followers(*people)
    empty_room.relay.answer(at="rcpt", reply="550 5.7.1 Not from you")
    release_id = empty_room.publish()
    empty_room.drain()
    empty_room.relay.reset()
    empty_room.later(hours=50)
    empty_room.sweep()
    assert empty_room.receipt(release_id).refused == 0
    empty_room.resume(release_id)
    empty_room.sweep()
    empty_room.drain()
    assert empty_room.received() == Counter(people)


@pytest.mark.parametrize("domains", [1, 2])
def test_refusals_of_one_or_two_domains_are_theirs(empty_room: SendingRoom, domains: int) -> None:
    people = crowd(24, domains)
    empty_room.add_followers(*people, *FOLLOWERS)
    for one in people:
        empty_room.relay.answer(one, at="rcpt", reply="550 5.7.1 Not from you")
    release_id = empty_room.publish()
    empty_room.drain()
    receipt = empty_room.receipt(release_id)
    assert (receipt.state, receipt.refused, receipt.accepted) == ("done", 24, 5)
    assert empty_room.received() == Counter(FOLLOWERS)
    assert not empty_room.suppressed()


def test_a_wrong_password_pauses_the_release_and_the_right_one_sends_it(
    room: SendingRoom,
) -> None:
    def check(*login: object) -> AuthResult:
        known = getattr(login[-1], "password", b"") == b"open sesame"
        return AuthResult(success=known, handled=False)

    options = {"authenticator": check, "auth_require_tls": False}
    with Relay.running(**options) as relay:
        url = relay.url.replace("//", "//press:{}@")
        room.adjust(relay=RelaySetting.from_url(url.format("guess")))
        release_id = room.publish()
        room.drain()
        receipt = room.receipt(release_id)
        assert (receipt.state, receipt.waiting) == ("paused", 5)
        assert "password" in (room.release(release_id).paused_because or "")
        assert not room.suppressed()
        room.adjust(relay=RelaySetting.from_url(url.format("open%20sesame")))
        room.resume(release_id)
        room.drain()
        assert Counter(one.recipient for one in relay.received) == Counter(FOLLOWERS)
        assert room.receipt(release_id).state == "done"


def test_what_was_begun_before_a_resume_does_not_pause_the_release_again(
    room: SendingRoom,
) -> None:
    """Two connections meet the same wrong password; it is mended before the second has told."""
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
    eventually(lambda: moment() > second.claimed_at)
    assert room.resume(release_id) == "sending"
    assert complain(second) == "sending"
    third = room.claim()
    assert third is not None
    assert complain(third) == "paused"


def moment() -> int:
    """Tell the time by the database's clock."""
    with read_transaction() as session:
        return session.execute(select(database_now())).scalar_one()
