"""Every sign-up that is accepted is answered by mail, whoever signs up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from mailer.domain.followers import preferences, subscriptions
from mailer.domain.followers.suppression import suppress_dead_mailboxes
from mailer.storage.database import transaction
from mailer.storage.models import OutboxMessage, Publisher, SignUp, Subscriber
from mailer.storage.types import now
from tests.domain.test_suppression import refuse
from tests.support.press_room import EVIDENCE, KARI, PressRoom

DAYS = timedelta(days=1)


def suppressed_for(room: PressRoom, days: float, tries: int = 0, *addresses: str) -> None:
    """Note that a mailbox was not found so many days ago, or tried then for the last time."""
    moment = now() - days * DAYS
    values = {"tried_at": moment, "tries": tries} if tries else {}
    with transaction() as session:
        session.execute(
            update(Subscriber)
            .where(Subscriber.address.in_(addresses or [KARI]))
            .values(suppressed_at=moment, suppressed_by=0, **values)
        )


def letters_after(room: PressRoom, address: str = KARI) -> list[str]:
    """Sign up; returns the kinds of letters that this has brought."""
    before = room.count(OutboxMessage)
    room.sign_up(address)
    return [one.kind for one in room.rows(OutboxMessage)[before:]]


def test_who_follows_already_is_told_so_and_proves_nothing_anew(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    steps = room.steps(one)
    assert letters_after(room) == ["following"]
    preferences.pause(one, 4, EVIDENCE)
    assert letters_after(room) == ["following"]
    assert room.steps(one) == [*steps, "paused"]


@pytest.mark.parametrize("past", ["unknown", "waiting", "left", "erased"])
def test_whoever_does_not_follow_is_asked(room: PressRoom, past: str) -> None:
    if past == "waiting":
        room.sign_up(KARI)
    elif past == "left":
        room.ended(KARI)
    elif past == "erased":
        room.erase(room.confirmed(KARI))
    assert letters_after(room) == ["confirm"]


@pytest.mark.parametrize(
    ("tries", "days", "letters"),
    [
        *((0, 6.9, []), (0, 7.1, ["confirm"])),
        *((1, 29, []), (1, 31, ["confirm"])),
        *((2, 181, []), (2, 183, ["confirm"]), (3, 181, []), (9, 183, ["confirm"])),
    ],
)
@pytest.mark.parametrize("follows", [True, False])
def test_a_mailbox_that_was_not_found_is_tried_now_and_then(
    room: PressRoom, *, tries: int, days: float, letters: list[str], follows: bool
) -> None:
    one = room.confirmed(KARI) if follows else room.sign_up(KARI)
    suppressed_for(room, days, tries)
    assert letters_after(room) == letters
    if letters:
        [person] = room.rows(Subscriber)
        assert person.tries == tries + 1
        assert letters_after(room) == [], "it has just been tried"
        subscriptions.confirm(room.settings, one, EVIDENCE)
        assert room.rows(Subscriber)[0].suppressed_at is None
        assert room.view(one) == (True, False)


def test_trials_are_few_beside_the_letters_of_a_day(room: PressRoom) -> None:
    people = [f"kari{number}@example.org" for number in range(26)]
    room.add_followers(*people)
    suppressed_for(room, 8, 0, *people)
    tried = [one for one in people if letters_after(room, one) == ["confirm"]]
    assert tried == people[:20]
    with transaction() as session:
        [publisher] = session.scalars(select(Publisher))
        session.add(SignUp(id=10_000, publisher_id=publisher.id, mailbox="x", at=now()))
    assert letters_after(room, people[-1]) == ["confirm"]


def test_what_refused_a_mailbox_before_it_answered_is_past(room: PressRoom) -> None:
    room.add_followers(KARI)
    one = room.open_subscriptions(KARI)[0]
    for hours in (200, 100):
        refuse(room, KARI, hours=hours)
    assert suppress_dead_mailboxes() == 1
    suppressed_for(room, 8)
    assert letters_after(room) == ["confirm"]
    subscriptions.confirm(room.settings, one, EVIDENCE)
    assert suppress_dead_mailboxes() == 0
    assert letters_after(room) == ["following"]
