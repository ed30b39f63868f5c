"""Notices: a press room hears by mail that its releases have paused themselves."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from mailer.domain import publishers
from mailer.domain.outbox import under_letter_limit
from mailer.domain.releases import lifecycle
from mailer.fanout.delivery.outbox import drain_outbox
from mailer.fanout.outbox import claim_messages
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import OutboxMessage, Release, Subscription
from tests.dkim_keys import dkimpy_verdicts, ed25519
from tests.fanout.press_room import ADA, BOB, FOLLOWERS, SendingRoom, together
from tests.relay import Received
from tests.support.press_room import DRAFT, SLUG

SENDER, DESK = DRAFT.from_address, "vakt@example.net"
REFUSED = "550 5.7.1 Skuta stays out, says mx.evil.example"
TITLE = "Hemmelig båt"


def pause_by_refusals(room: SendingRoom) -> int:
    """Publish a release that pauses itself, since the relay refuses every recipient."""
    for address in FOLLOWERS:
        room.relay.answer(address, at="rcpt", reply=REFUSED)
    release_id = room.publish(title=TITLE)
    room.drain()
    assert room.release(release_id).state == "paused"
    return release_id


def notices(room: SendingRoom, *ask: str) -> list[Received]:
    """Send the letters that are due, and return what has come to these addresses."""
    asyncio.run(drain_outbox(room.settings, asyncio.Event()))
    return [one for one in room.relay.received if one.recipient in (ask or (SENDER,))]


def words(received: Received) -> str:
    """Return the text of a letter, each run of white space as one space."""
    body = received.message.get_body(("plain",))
    assert body is not None
    return " ".join(str(body.get_content()).split())


def test_the_sender_hears_of_a_release_that_paused_itself_and_how_to_go_on(
    room: SendingRoom,
) -> None:
    release_id = pause_by_refusals(room)
    room.relay.answer(SENDER, at="rcpt", reply=REFUSED)
    assert not notices(room)
    room.relay.reset()
    room.later(minutes=1)
    [received] = notices(room)
    assert received.sender == SENDER
    said = words(received)
    assert "Utsendingen er satt på pause" in said
    assert f"Pressemelding {release_id}" in said
    assert (room.release(release_id).paused_because or "nothing") in said
    assert f"mailer release resume {release_id}" in said
    assert f"POST /api/v1/releases/{release_id}/resume" in said
    room.later(hours=1)
    assert len(notices(room)) == 1


def test_nothing_from_outside_is_in_a_notice_and_it_is_no_list_mail(room: SendingRoom) -> None:
    pause_by_refusals(room)
    [received] = notices(room)
    for secret in (TITLE, "evil", "Skuta", *FOLLOWERS):
        assert secret not in received.message.as_string()
        assert secret not in words(received)
    names = [name.lower() for name in received.message]
    assert not [name for name in names if name.startswith("list-") or name == "precedence"]
    assert received.message["Auto-Submitted"] == "auto-generated"


def test_two_paused_releases_of_a_press_room_are_one_notice(room: SendingRoom) -> None:
    both = [pause_by_refusals(room), pause_by_refusals(room)]
    assert room.letters() == ["notice"]
    [received] = notices(room)
    for release_id in both:
        assert f"mailer release resume {release_id}" in words(received)


def test_a_release_that_the_operator_paused_in_the_database_is_listed_without_a_reason(
    room: SendingRoom,
) -> None:
    by_hand = room.publish()
    with transaction() as session:
        session.get_one(Release, by_hand).state = "paused"
    release_id = pause_by_refusals(room)
    [received] = notices(room)
    said = words(received)
    assert f"Pressemelding {by_hand} Når årsaken er" in said
    assert f"Pressemelding {release_id} The mail relay" in said


def test_two_pauses_at_once_are_one_notice(room: SendingRoom) -> None:
    both = [room.publish(), room.publish()]
    together(*(lambda one=one: room.pause(one) for one in both))
    assert room.letters() == ["notice"]
    assert len(notices(room)) == 1


def test_a_pause_while_a_notice_is_sent_has_a_notice_of_its_own(room: SendingRoom) -> None:
    """What is being sent was composed before."""
    room.pause(room.publish())
    with transaction() as session:
        claim_messages(session, room.settings.lease_seconds)
    later = room.publish()
    room.pause(later)
    room.pause(later)
    assert room.letters() == ["notice"] * 2
    [received] = notices(room)
    assert f"mailer release resume {later}" in words(received)


def test_the_next_pause_has_the_next_notice(room: SendingRoom) -> None:
    release_id = pause_by_refusals(room)
    assert len(notices(room)) == 1
    room.resume(release_id)
    room.pause(release_id)
    assert len(notices(room)) == 2


def test_what_was_resumed_in_time_is_not_worth_a_letter(room: SendingRoom) -> None:
    release_id = pause_by_refusals(room)
    room.relay.reset()
    room.resume(release_id)
    assert not notices(room)
    [row] = room.rows(OutboxMessage)
    assert (row.finished_at is not None, row.outcome) == (True, "skipped resumed")


def test_a_pause_that_changes_nothing_has_no_notice(room: SendingRoom) -> None:
    release_id = room.publish()
    room.drain()
    room.pause(release_id)
    assert (room.release(release_id).state, room.letters()) == ("done", [])


def test_a_press_room_chooses_who_hears(room: SendingRoom) -> None:
    publishers.change(SLUG, {}, DESK.upper())
    pause_by_refusals(room)
    assert [one.recipient for one in notices(room, SENDER, DESK)] == [DESK]


def test_a_press_room_may_want_no_notice(room: SendingRoom) -> None:
    publishers.change(SLUG, {}, "none")
    pause_by_refusals(room)
    assert room.letters() == []
    publishers.change(SLUG, {}, "")
    pause_by_refusals(room)
    publishers.change(SLUG, {}, "none")
    assert not notices(room, SENDER, DESK)
    assert room.rows(OutboxMessage)[0].outcome == "skipped gone"


def test_another_press_room_hears_nothing(room: SendingRoom) -> None:
    other = "presse@fjell.example"
    publishers.add(publishers.PublisherDraft("fjell", "Fjellavisa", other, "nb"))
    pause_by_refusals(room)
    assert not notices(room, other)
    assert len(notices(room)) == 1


@pytest.mark.parametrize(
    ("locale", "subject"),
    [
        ("nb", "Satt på pause: pressemeldinger fra"),
        ("nn", "Sett på pause: pressemeldingar frå"),
        ("en", "Paused: press releases from"),
    ],
)
def test_a_notice_is_in_the_language_of_the_press_room(
    room: SendingRoom, locale: str, subject: str
) -> None:
    publishers.add(publishers.PublisherDraft("fjell", "Fjellavisa", "presse@fjell.example", locale))
    release_id = room.publish()
    other = publishers.find("fjell").id
    with transaction() as session:
        paused = session.get_one(Release, release_id)
        paused.publisher_id = other
        session.flush()
        lifecycle.pause(session, paused.id, "A test pauses it.")
    [received] = notices(room, "presse@fjell.example")
    assert received.message["Subject"] == f"{subject} Fjellavisa"
    assert received.message["Content-Language"] == locale


def test_a_notice_is_signed_and_bounces_to_the_press_room(room: SendingRoom) -> None:
    key = ed25519("example.org")
    room.adjust(mail_domain="in.example.org", dkim_keys=(key,))
    pause_by_refusals(room)
    [received] = notices(room)
    assert received.sender == SENDER
    assert dkimpy_verdicts(received.content, [key]) == [True]


def test_a_notice_belongs_to_no_subscriber(room: SendingRoom) -> None:
    for _ in range(6):
        room.pause(room.publish())
        notices(room)
    one = room.subscription(ADA)
    with read_transaction() as session:
        assert under_letter_limit(session, session.get_one(Subscription, one.id))
    room.unsubscribe(one.id)
    assert room.letters("goodbye") == ["goodbye"]
    room.pause(room.publish())
    room.erase(room.subscription(BOB).id)
    room.sweep()
    assert Counter(room.letters())["notice"] == 7
    assert len(notices(room)) == 7


def test_a_notice_that_could_not_be_sent_begins_anew_with_the_next_pause(room: SendingRoom) -> None:
    pause_by_refusals(room)
    room.relay.answer(SENDER, at="rcpt", reply="450 4.2.2 Full")
    for hours in (0, 1, 2, 6):
        room.later(hours=hours)
        assert not notices(room)
    room.relay.reset()
    second = room.publish()
    room.pause(second)
    [received] = notices(room)
    assert f"mailer release resume {second}" in words(received)
