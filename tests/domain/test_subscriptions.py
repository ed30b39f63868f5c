"""The life of a subscription, as its rows tell it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text

from mailer.domain import publishers
from mailer.domain.followers import subscriptions
from mailer.domain.publishers import PublisherDraft
from mailer.errors import InvalidAddress, InvalidLink
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import Consent, Subscriber, Subscription
from mailer.storage.types import now
from tests.processes import eventually
from tests.support.press_room import ADA, EVIDENCE, KARI, OLA, SLUG, PressRoom
from tests.support.signed_links import look_up

AT_ONCE = 8


def test_a_sign_up_asks_for_a_confirmation(room: PressRoom) -> None:
    one = room.sign_up(KARI)
    view = look_up(one)
    assert (view.confirmed, view.ended) == (False, False)
    assert room.letters() == ["confirm"]
    assert room.steps(one) == ["requested"]


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_an_undo_waits_for_a_sign_up_that_has_begun(room: PressRoom) -> None:
    old = room.ended(KARI)

    def waits() -> bool:
        query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        with read_transaction() as session:
            return bool(session.scalar(query))

    def undo() -> bool:
        with room.app.app_context():
            view = subscriptions.resume(room.settings, old, EVIDENCE)
            return view.id != old and not view.confirmed

    with ThreadPoolExecutor(1) as threads:
        with transaction() as session:
            [person] = session.scalars(select(Subscriber).with_for_update())
            undoing = threads.submit(undo)
            eventually(lambda: undoing.done() or waits(), "the undo has begun")
            session.add(
                Subscription(
                    subscriber_id=person.id,
                    publisher_id=room.publisher.id,
                    locale="nb",
                    requested_at=now(),
                )
            )
        assert undoing.result(), "the newer subscription is the one that counts"
    assert len(room.open_subscriptions(KARI)) == 1


def test_signing_up_twice_is_one_subscription(room: PressRoom) -> None:
    one = room.sign_up(KARI)
    subscriptions.sign_up(room.settings, publishers.find(SLUG), "  KARI@Example.org", EVIDENCE)
    assert room.open_subscriptions(KARI) == [one]
    assert room.count(Subscription) == 1
    assert room.count(Subscriber) == 1


def test_following_two_press_rooms_is_two_subscriptions_of_one_person(room: PressRoom) -> None:
    publishers.add(PublisherDraft("fjellavisa", "Fjellavisa", "presse@example.org", "nn"))
    assert room.sign_up(KARI) != room.sign_up(KARI, slug="fjellavisa")
    assert room.count(Subscriber) == 1


def test_who_follows_already_keeps_the_subscription(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    before = room.letters()
    assert room.sign_up(KARI) == one
    assert room.letters() == [*before, "following"]


def test_a_mailbox_that_does_not_exist_gets_no_letter(room: PressRoom) -> None:
    room.sign_up(KARI)
    room.suppress(KARI)
    room.sign_up(KARI)
    assert room.letters() == ["confirm"]


@pytest.mark.parametrize("past", ["new", "asked", "confirmed", "left", "suppressed"])
def test_a_sign_up_never_tells_whether_the_address_was_known(room: PressRoom, past: str) -> None:
    """Whatever the past, it returns, and returns nothing; the page answers all the same."""
    if past != "new":
        one = room.sign_up(KARI) if past == "asked" else room.confirmed(KARI)
        if past == "left":
            room.unsubscribe(one)
        if past == "suppressed":
            room.suppress(KARI)
    subscriptions.sign_up(room.settings, publishers.find(SLUG), KARI, EVIDENCE)


def test_a_sign_up_with_what_is_no_address_writes_nothing(room: PressRoom) -> None:
    with pytest.raises(InvalidAddress):
        subscriptions.sign_up(
            room.settings, publishers.find(SLUG), "kari@example.org, ola@example.org", EVIDENCE
        )
    assert room.count(Subscriber) == 0


def test_confirming_twice_is_one_consent_and_one_welcome(room: PressRoom) -> None:
    one = room.sign_up(KARI)
    for _ in range(2):
        view = subscriptions.confirm(room.settings, one, EVIDENCE)
        assert (view.confirmed, view.ended) == (True, False)
    assert room.steps(one) == ["requested", "confirmed"]
    assert room.letters() == ["confirm", "welcome"]


def test_leaving_twice_is_one_step_and_one_goodbye(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    for _ in range(2):
        assert subscriptions.unsubscribe(room.settings, one, EVIDENCE).ended
    assert room.steps(one) == ["requested", "confirmed", "unsubscribed"]
    assert room.letters("goodbye") == ["goodbye"]


def test_who_never_confirmed_leaves_without_a_letter(room: PressRoom) -> None:
    one = room.sign_up(KARI)
    room.unsubscribe(one)
    assert look_up(one).ended
    assert room.letters() == ["confirm"]


def test_an_ended_subscription_is_not_confirmed_by_its_old_link(room: PressRoom) -> None:
    one = room.sign_up(KARI)
    room.unsubscribe(one)
    view = subscriptions.confirm(room.settings, one, EVIDENCE)
    assert (view.confirmed, view.ended) == (False, True)


def test_undo_opens_the_same_subscription(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    room.unsubscribe(one)
    for _ in range(2):
        view = subscriptions.resume(room.settings, one, EVIDENCE)
        assert (view.confirmed, view.ended) == (True, False)
    assert room.open_subscriptions(KARI) == [one]
    assert room.steps(one)[-1] == "resumed"
    assert room.steps(one).count("resumed") == 1


def test_a_sign_up_after_leaving_is_a_new_row_and_the_old_one_stays(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    room.unsubscribe(one)
    other = room.sign_up(KARI)
    assert other != one
    assert look_up(one).ended
    assert not look_up(other).confirmed


def test_undo_leaves_a_newer_subscription_in_its_place(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    room.unsubscribe(one)
    other = room.sign_up(KARI)
    view = subscriptions.resume(room.settings, one, EVIDENCE)
    assert (view.id, view.confirmed) == (other, False)
    assert look_up(one).ended
    assert room.open_subscriptions(KARI) == [other]


def test_leaving_one_leaves_nobody_else(room: PressRoom) -> None:
    karis, olas = room.confirmed(KARI), room.confirmed(OLA)
    room.unsubscribe(karis)
    assert look_up(karis).ended
    assert not look_up(olas).ended


@pytest.mark.parametrize("number", [0, -1, 4711])
def test_a_link_to_nobody_is_not_valid(room: PressRoom, number: int) -> None:
    with pytest.raises(InvalidLink):
        subscriptions.confirm(room.settings, number, EVIDENCE)
    with pytest.raises(InvalidLink):
        subscriptions.unsubscribe(room.settings, number, EVIDENCE)
    with pytest.raises(InvalidLink):
        subscriptions.resume(room.settings, number, EVIDENCE)
    with pytest.raises(InvalidLink):
        look_up(number)


def test_sign_ups_at_the_same_moment_are_one_open_subscription(room: PressRoom) -> None:
    together = threading.Barrier(AT_ONCE)

    def sign_up() -> None:
        with room.app.app_context():
            together.wait()
            subscriptions.sign_up(room.settings, publishers.find(SLUG), ADA, EVIDENCE)

    with ThreadPoolExecutor(AT_ONCE) as crowd:
        for one in [crowd.submit(sign_up) for _ in range(AT_ONCE)]:
            one.result()
    assert len(room.open_subscriptions(ADA)) == 1
    assert room.count(Subscription) == 1
    assert room.letters() == ["confirm"] * 2


def test_confirmations_at_the_same_moment_are_one_consent(room: PressRoom) -> None:
    one = room.sign_up(ADA)
    together = threading.Barrier(AT_ONCE)

    def confirm() -> None:
        with room.app.app_context():
            together.wait()
            assert subscriptions.confirm(room.settings, one, EVIDENCE).confirmed

    with ThreadPoolExecutor(AT_ONCE) as crowd:
        for each in [crowd.submit(confirm) for _ in range(AT_ONCE)]:
            each.result()
    assert room.steps(one) == ["requested", "confirmed"]
    assert room.letters("welcome") == ["welcome"]


def test_every_proof_keeps_what_was_seen_and_where(room: PressRoom) -> None:
    room.sign_up(KARI)
    with read_transaction() as session:
        [proof] = session.scalars(select(Consent))
        assert (proof.language, proof.page) == (EVIDENCE.language, EVIDENCE.page)
        assert proof.wording == subscriptions.WORDING
        assert proof.message_id
