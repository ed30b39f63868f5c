"""Where mail arrives, every message says by itself where it is sent back to, and how to leave."""

from __future__ import annotations

import asyncio
import re

import pytest

from mailer.domain import publishers
from mailer.domain.followers import subscriptions
from mailer.domain.followers.subscriptions import Evidence
from mailer.domain.verp import ReturnPath, ReturnPaths
from mailer.fanout.delivery.outbox import drain_outbox
from tests.fanout.press_room import ADA, BOB, FOLLOWERS, SendingRoom
from tests.relay import Received
from tests.support.press_room import DRAFT, SLUG
from tests.support.signed_links import nonce_of

FRI = "fri@example.org"
PROOF = Evidence(language="nb", page="test", network=None)


@pytest.fixture
def reachable(room: SendingRoom) -> SendingRoom:
    """The press room followed by Ada, Bob, Cai, Dag and Eva, with a domain for return mail."""
    room.adjust(mail_domain="in.example.org")
    return room


def send_letters(room: SendingRoom) -> list[Received]:
    """Let Fri sign up, confirm and leave, and send the three letters."""
    subscriptions.sign_up(room.settings, publishers.find(SLUG), FRI, PROOF)
    one = room.subscription(FRI).id
    asyncio.run(drain_outbox(room.settings, asyncio.Event()))
    for step in (subscriptions.confirm, subscriptions.unsubscribe):
        step(room.settings, one, PROOF)
        asyncio.run(drain_outbox(room.settings, asyncio.Event()))
    return room.relay.received


def back_to(room: SendingRoom, received: Received) -> ReturnPath:
    """Read the reverse-path of a message."""
    return ReturnPaths(room.settings).read([received.sender], nonce_of)


def ways_out(received: Received) -> list[str]:
    """List the addresses by which a mail client may leave, in their order."""
    return re.findall("<([^>]+)>", str(received.message["List-Unsubscribe"]))


def test_a_release_comes_back_to_one_mailbox_for_each_recipient(reachable: SendingRoom) -> None:
    release_id = reachable.publish()
    reachable.drain()
    assert {one.recipient for one in reachable.relay.received} == set(FOLLOWERS)
    for received in reachable.relay.received:
        one = reachable.subscription(received.recipient).id
        assert back_to(reachable, received) == ReturnPath("bounce", one, release_id)
        assert received.message["From"].addresses[0].addr_spec == DRAFT.from_address


def test_the_second_attempt_comes_back_to_the_same_mailbox(reachable: SendingRoom) -> None:
    reachable.relay.answer(BOB, at="dot", reply="451 4.7.1 Greylisted", times=1)
    release_id = reachable.publish()
    reachable.drain()
    reachable.later(seconds=2)
    reachable.sweep()
    reachable.drain()
    [received] = [one for one in reachable.relay.received if one.recipient == BOB]
    one = reachable.subscription(BOB).id
    assert back_to(reachable, received) == ReturnPath("bounce", one, release_id)


def test_letters_to_one_person_come_back_to_a_mailbox_without_a_release(
    reachable: SendingRoom,
) -> None:
    for received in send_letters(reachable):
        one = reachable.subscription(FRI).id
        assert back_to(reachable, received) == ReturnPath("bounce", one, None)


def test_a_follower_may_leave_by_mail_and_first_of_all_by_the_web(reachable: SendingRoom) -> None:
    reachable.publish()
    reachable.drain()
    welcome = send_letters(reachable)[-2]
    for received in (*reachable.relay.received[:5], welcome):
        https, mailto = ways_out(received)
        assert https.startswith(f"{reachable.settings.base_url}/one-click/")
        found = re.fullmatch(
            r"mailto:(unsubscribe-\S+@in\.example\.org)\?subject=unsubscribe", mailto
        )
        assert found
        one = reachable.subscription(received.recipient).id
        mailbox = ReturnPaths(reachable.settings).read([found[1]], nonce_of)
        assert mailbox == ReturnPath("unsubscribe", one, None)
        assert received.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_without_a_mail_domain_all_goes_back_to_the_press_room(room: SendingRoom) -> None:
    room.publish()
    room.drain()
    assert {one.sender for one in room.relay.received} == {DRAFT.from_address}
    [ada] = [one for one in room.relay.received if one.recipient == ADA]
    [https] = ways_out(ada)
    assert https.startswith(f"{room.settings.base_url}/one-click/")
    assert {one.sender for one in send_letters(room)} == {DRAFT.from_address}
