"""A change of address: what goes on, what the new mailbox agrees to, and the way back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from mailer.domain import publishers
from mailer.domain.followers import erasure, links, preferences, subscriptions
from mailer.domain.followers.address_change import ChangeView, ask_to_move, look_up, move
from mailer.domain.followers.follower_csv import import_followers
from mailer.domain.followers.retention import apply_retention
from mailer.domain.followers.suppression import suppress_dead_mailboxes
from mailer.domain.tokens import Tokens
from mailer.errors import InvalidLink, NotFound
from mailer.fanout.outbox import claim_messages
from mailer.mail.content import MOVE_WITHIN
from mailer.storage.database import transaction
from mailer.storage.models import AddressChange, OutboxMessage, Outcome, Subscriber, Subscription
from mailer.storage.types import now
from tests.domain.test_suppression import refuse
from tests.support.press_room import ADA, DRAFT, EVIDENCE, KARI, OLA, PressRoom

NEW = "kari@new.example.org"
OTHER = "fjellavisa"


@pytest.fixture
def another(room: PressRoom) -> str:
    """A second press room."""
    publishers.add(replace(DRAFT, slug=OTHER, name="Fjellavisa"))
    return OTHER


def follow(room: PressRoom, address: str, slug: str) -> int:
    one = room.sign_up(address, slug=slug)
    subscriptions.confirm(room.settings, one, EVIDENCE)
    return one


def moved(room: PressRoom, one: int, address: str = NEW, *, everywhere: bool = False) -> ChangeView:
    """Ask for another address, and press the button in the letter that comes there."""
    token = room.ask_to_move(one, address, everywhere=everywhere)
    return move(room.settings, token, EVIDENCE)


def mailboxes(room: PressRoom, *kinds: str) -> list[tuple[str, str | None]]:
    """Return the letters of these kinds that wait, and where they go."""
    with transaction() as session:
        claimed = claim_messages(session, 60, 100)
    return [(one.kind, one.address) for one in claimed if one.kind in kinds]


def test_what_one_has_followed_goes_on_at_the_new_address(room: PressRoom) -> None:
    one = room.confirmed(KARI, "nn")
    preferences.pause(one, 4, EVIDENCE)
    steps = room.steps(one)
    change = moved(room, one)
    assert (change.done, change.view.id, change.view.locale) == (True, one, "nn")
    assert change.view.address == "k…@new.example.org"
    assert room.open_subscriptions(NEW) == [one]
    assert room.open_subscriptions(KARI) == []
    assert room.steps(one) == [*steps, "moved"]
    assert preferences.look_up(one).paused_until is not None  # type: ignore[union-attr]


def test_the_new_mailbox_is_asked_and_the_one_before_is_told(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    room.ask_to_move(one, NEW)
    assert mailboxes(room, "move", "moved") == [("move", NEW)]
    before = room.everything()
    assert look_up(room.settings, room.move_token()).names == (DRAFT.name,)
    assert room.everything() == before
    move(room.settings, room.move_token(), EVIDENCE)
    assert mailboxes(room, "move", "moved") == [("moved", KARI)]
    assert move(room.settings, room.move_token(0), EVIDENCE).done
    assert mailboxes(room, "move", "moved") == []


def test_the_mailbox_of_before_has_the_way_back(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    moved(room, one)
    back = room.move_token()
    assert move(room.settings, back, EVIDENCE).done
    assert room.open_subscriptions(KARI) == [one]
    assert mailboxes(room, "moved") == [("moved", KARI)], "and it is the end of it"


def test_what_is_known_is_told_to_a_new_mailbox_only_once_the_way_back_has_ended(
    room: PressRoom,
) -> None:
    """Whoever reads a forwarded letter can ask for their own address, but learns nothing."""
    one = room.confirmed(KARI)
    room.ask_to_move(one, OLA)
    assert preferences.ask_for_link(room.settings, one)
    moved(room, one)
    back = room.move_token()
    assert not preferences.ask_for_link(room.settings, one)
    with transaction() as session:
        session.execute(
            update(AddressChange)
            .where(AddressChange.is_way_back)
            .values(requested_at=now() - MOVE_WITHIN)
        )
    assert preferences.ask_for_link(room.settings, one)
    assert room.letters("manage") == ["manage"] * 2
    with pytest.raises(InvalidLink):
        move(room.settings, back, EVIDENCE)


def test_who_has_gone_back_may_ask_at_once(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    moved(room, one)
    move(room.settings, room.move_token(), EVIDENCE)
    assert preferences.ask_for_link(room.settings, one)


def test_the_way_back_takes_no_more_than_what_had_moved(room: PressRoom, another: str) -> None:
    one, own = room.confirmed(KARI), follow(room, NEW, another)
    moved(room, one, everywhere=True)
    move(room.settings, room.move_token(), EVIDENCE)
    assert room.open_subscriptions(KARI) == [one]
    assert room.open_subscriptions(NEW, another) == [own]


@pytest.mark.parametrize("everywhere", [True, False])
def test_one_press_room_moves_or_all(room: PressRoom, another: str, *, everywhere: bool) -> None:
    one, two = room.confirmed(KARI), follow(room, KARI, another)
    change = moved(room, one, everywhere=everywhere)
    assert len(change.names) == 1 + everywhere
    assert room.open_subscriptions(NEW) == [one]
    assert room.open_subscriptions(NEW if everywhere else KARI, another) == [two]


@pytest.mark.parametrize("past", ["follows", "waits", "left", "suppressed"])
def test_an_address_that_is_known_is_merged(room: PressRoom, past: str) -> None:
    old_link = room.ended(KARI)
    one = room.confirmed(KARI, "nn")
    theirs = room.sign_up(NEW)
    if past != "waits":
        subscriptions.confirm(room.settings, theirs, EVIDENCE)
    if past == "left":
        room.unsubscribe(theirs)
    if past == "suppressed":
        room.suppress(NEW)
        room.ask_to_move(one, NEW)
        assert mailboxes(room, "move") == [], "nothing is sent to a suppressed address"
        move(room.settings, room.move_token(), EVIDENCE)
    else:
        moved(room, one)
    [goes_on] = room.open_subscriptions(NEW)
    assert goes_on == one, "the first that was confirmed"
    people = {person.address: person.suppressed_at for person in room.rows(Subscriber)}
    assert people == {KARI: None, NEW: None}
    for link in (old_link, one, theirs):
        view = links.look_up(link)
        assert (view.id, view.locale, view.ended) == (goes_on, "nn", False)
    room.unsubscribe(links.look_up(old_link).id)
    assert room.open_subscriptions(NEW) == []


def test_nothing_moves_that_the_new_mailbox_was_not_asked_for(
    room: PressRoom, another: str
) -> None:
    one, request = room.confirmed(KARI), room.sign_up(KARI, slug=another)
    link = room.ask_to_move(one, NEW, everywhere=True)
    assert look_up(room.settings, link).names == (DRAFT.name,)
    subscriptions.confirm(room.settings, request, EVIDENCE)
    move(room.settings, link, EVIDENCE)
    assert room.open_subscriptions(NEW, another) == []
    assert room.open_subscriptions(KARI, another) == [request]


def test_who_has_left_meanwhile_is_brought_nowhere(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    room.ask_to_move(one, NEW)
    room.unsubscribe(one)
    change = move(room.settings, room.move_token(), EVIDENCE)
    assert not change.done
    assert change.view.ended
    assert room.open_subscriptions(NEW) == []
    assert mailboxes(room, "moved") == []
    assert [one.address for one in room.rows(Subscriber)] == [KARI], "nothing is kept of the other"


@pytest.mark.parametrize("who", [KARI, NEW])
def test_an_erasure_forgets_the_wish(room: PressRoom, who: str) -> None:
    one = room.confirmed(KARI)
    room.ended(NEW)
    link = room.ask_to_move(one, NEW)
    erasure.erase(room.settings, who)
    assert room.rows(AddressChange) == []
    assert mailboxes(room, "move") == ([] if who == KARI else [("move", None)])
    with pytest.raises(InvalidLink):
        move(room.settings, link, EVIDENCE)


def test_a_link_works_for_30_days_and_the_wish_is_then_forgotten(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    link = room.ask_to_move(one, NEW)
    with transaction() as session:
        old = now() - MOVE_WITHIN - timedelta(minutes=1)
        session.execute(update(AddressChange).values(requested_at=old))
    with pytest.raises(InvalidLink):
        look_up(room.settings, link)
    apply_retention(room.settings)
    assert room.rows(AddressChange) == []
    assert room.count(OutboxMessage) == 3
    with pytest.raises(InvalidLink):
        move(room.settings, link, EVIDENCE)


def test_letters_of_a_mailbox_are_counted_as_those_of_sign_ups_are(room: PressRoom) -> None:
    room.add_followers(*(f"kari{number}@example.org" for number in range(8)))
    people = [room.open_subscriptions(f"kari{number}@example.org")[0] for number in range(8)]
    answers = [
        ask_to_move(room.settings, one, f"o.l.a+{one}@gmail.com", everywhere=False)
        for one in people
    ]
    assert answers == ["asked"] * 2 + ["used up"] * 6
    assert len(mailboxes(room, "move")) == 2


def test_ones_own_address_gets_a_letter_that_changes_nothing(room: PressRoom) -> None:
    """Else whoever reads a forwarded letter could find out the address by guessing."""
    one = room.confirmed(KARI)
    before = room.rows(Subscription)[0].subscriber_id
    assert moved(room, one, KARI.upper()).done
    assert room.rows(Subscription)[0].subscriber_id == before
    assert room.letters("move", "moved") == ["move"]


def test_what_the_mailbox_of_before_refused_says_nothing_about_the_new_one(
    room: PressRoom,
) -> None:
    one = room.confirmed(KARI)
    refuse(room, KARI, hours=200)
    refuse(room, KARI, hours=2)
    moved(room, one)
    assert suppress_dead_mailboxes() == 0
    assert room.count(Outcome) == 2


def test_links_of_a_change_are_nobody_elses(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    room.confirmed(OLA)
    room.ask_to_move(one, NEW)
    for purpose in ("confirm", "access", "unsubscribe", "one-click"):
        with pytest.raises(InvalidLink):
            look_up(room.settings, room.tokens.token(purpose, one))
    change = room.rows(AddressChange)[0]
    with pytest.raises(InvalidLink):
        look_up(room.settings, Tokens(room.settings).token("move", change.id, change.nonce + 1))
    with pytest.raises(InvalidLink):
        links.opened(room.settings, "unsubscribe", room.move_token())


def test_an_older_link_names_the_mailbox_to_which_all_has_moved_on(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    first = room.ask_to_move(one, OLA)
    assert move(room.settings, first, EVIDENCE).address == "o…@example.org"
    moved(room, one, NEW)
    assert look_up(room.settings, first).address == "k…@new.example.org"


def test_of_two_way_backs_the_first_is_the_last_word(room: PressRoom) -> None:
    """Whoever took a subscription away twice has ways back of their own."""
    one = room.confirmed(KARI)
    moved(room, one, OLA)
    first = room.move_token()
    moved(room, one, ADA)
    second = room.move_token()
    room.ask_to_move(one, OLA)
    third = room.move_token()
    assert move(room.settings, first, EVIDENCE).done
    for later in (second, third):
        with pytest.raises(InvalidLink):
            move(room.settings, later, EVIDENCE)
    assert room.open_subscriptions(KARI) == [one]


def test_all_comes_home_wherever_the_parts_have_gone(room: PressRoom, another: str) -> None:
    one, two = room.confirmed(KARI), follow(room, KARI, another)
    own = follow(room, OLA, another)
    moved(room, one, NEW, everywhere=True)
    back = room.move_token()
    moved(room, one, OLA)
    assert not preferences.ask_for_link(room.settings, two)
    assert not preferences.ask_for_link(room.settings, one)
    room.unsubscribe(two)
    move(room.settings, back, EVIDENCE)
    assert room.open_subscriptions(KARI) == [one]
    assert room.open_subscriptions(KARI, another) == [two], "also what was left meanwhile"
    assert room.open_subscriptions(OLA, another) == [own], "what is OLA's stays there"


@pytest.mark.parametrize("first", [KARI, OLA])
def test_a_way_back_takes_a_merger_apart(room: PressRoom, first: str) -> None:
    ids = {who: room.confirmed(who) for who in ((KARI, OLA) if first == KARI else (OLA, KARI))}
    moved(room, ids[KARI], OLA)
    assert room.open_subscriptions(OLA) == [ids[first]]
    move(room.settings, room.move_token(), EVIDENCE)
    assert {who: room.open_subscriptions(who) for who in ids} == {
        who: [one] for who, one in ids.items()
    }


def test_who_has_left_at_the_new_mailbox_stays_out_when_another_goes_back(
    room: PressRoom,
) -> None:
    one, own = room.confirmed(KARI), room.confirmed(OLA)
    moved(room, one, OLA)
    room.unsubscribe(own)
    move(room.settings, room.move_token(), EVIDENCE)
    assert room.open_subscriptions(OLA) == []
    assert room.open_subscriptions(KARI) == [one]


@pytest.mark.parametrize("whose", [KARI, OLA])
def test_an_older_link_to_the_data_opens_nobody_elses(room: PressRoom, whose: str) -> None:
    ids = {who: room.confirmed(who) for who in (KARI, OLA)}
    link = f"/your-data/{room.tokens.token('access', ids[whose])}"
    moved(room, ids[KARI], OLA)
    for action in ("download", "erase"):
        answer = room.client.post(link, data={"action": action})
        assert answer.status_code == 403
        assert "@" not in answer.get_data(as_text=True)
    assert room.open_subscriptions(OLA) == [ids[KARI]]


def test_the_way_back_outlives_the_night(room: PressRoom, another: str) -> None:
    one, request = room.confirmed(KARI), room.sign_up(KARI, slug=another)
    with transaction() as session:
        old = now() - timedelta(days=900)
        session.get_one(Subscription, request).requested_at = old
    moved(room, one)
    apply_retention(room.settings)
    assert move(room.settings, room.move_token(), EVIDENCE).done


@pytest.mark.parametrize("erased", [True, False])
def test_an_import_brings_nobody_back_to_the_address_of_before(
    room: PressRoom, *, erased: bool
) -> None:
    one = room.confirmed(KARI)
    moved(room, one)
    if erased:
        erasure.erase_subscriber_of(room.settings, one)
    else:
        room.unsubscribe(one)
    key = room.settings.erasure_key
    report = import_followers(DRAFT.slug, ["address", KARI], locales=("nb",), erasure_key=key)
    assert report.added == 0


def test_an_address_that_was_only_asked_can_be_erased(room: PressRoom) -> None:
    room.ask_to_move(room.confirmed(KARI), NEW)
    erasure.erase(room.settings, NEW)
    assert room.rows(AddressChange) == []
    with pytest.raises(NotFound):
        erasure.erase(room.settings, NEW)


def test_changes_do_not_use_up_the_trials_of_others(room: PressRoom) -> None:
    people = [f"kari{number}@example.org" for number in range(21)]
    room.add_followers(*people)
    for number, who in enumerate(people):
        moved(room, room.open_subscriptions(who)[0], f"new{number}@example.org")
    room.confirmed(OLA)
    with transaction() as session:
        session.execute(
            update(Subscriber)
            .where(Subscriber.address == OLA)
            .values(suppressed_at=now() - timedelta(days=8))
        )
    before = room.letters("confirm")
    room.sign_up(OLA)
    assert len(room.letters("confirm")) == len(before) + 1


def test_a_correction_reaches_who_has_moved_to_a_mailbox_that_follows_since(
    room: PressRoom,
) -> None:
    one, later = room.confirmed(KARI), room.confirmed(NEW)
    moved(room, one)
    assert room.view(one) == (True, False)
    assert room.view(later) == (True, True)
