"""Nobody is suppressed on the evidence of one release, or of a day on which a domain was wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mailer.domain.followers.suppression import suppress_dead_mailboxes
from mailer.storage.database import transaction
from mailer.storage.models import Outcome, Release, Subscriber
from mailer.storage.types import now
from tests.support.press_room import PressRoom

KARI, OLA = "kari@example.org", "ola@example.org"


def refuse(room: PressRoom, *addresses: str, hours: float, reason: str = "5.1.1") -> int:
    """Publish a release in which these were refused, so many hours ago; returns its id."""
    release_id = room.publish()
    with transaction() as session:
        for one in addresses:
            session.add(
                Outcome(
                    release_id=release_id,
                    subscription_id=room.subscription(one).id,
                    kind="refused",
                    reason=reason,
                    at=now() - timedelta(hours=hours),
                )
            )
    return release_id


def suppressed(room: PressRoom) -> set[str]:
    suppress_dead_mailboxes()
    return {one.address for one in room.rows(Subscriber) if one.suppressed_at is not None}


@pytest.mark.parametrize("reason", ["5.1.1", "5.1.10"])
def test_two_releases_three_days_apart_are_evidence(room: PressRoom, reason: str) -> None:
    room.add_followers(KARI, OLA)
    refuse(room, KARI, hours=100, reason=reason)
    assert suppressed(room) == set()
    refuse(room, KARI, hours=29, reason=reason)
    assert suppressed(room) == set()
    last = refuse(room, KARI, hours=27, reason=reason)
    assert suppressed(room) == {KARI}
    assert {one.suppressed_by for one in room.rows(Subscriber)} == {None, last}


@pytest.mark.parametrize("reason", ["5.7.1", "5.2.2", "expired", "550"])
def test_other_refusals_are_none(room: PressRoom, reason: str) -> None:
    room.add_followers(KARI)
    for hours in (200, 100, 1):
        refuse(room, KARI, hours=hours, reason=reason)
    assert suppressed(room) == set()


def test_a_release_that_was_paused_and_resumed_is_none(room: PressRoom) -> None:
    room.add_followers(KARI)
    refuse(room, KARI, hours=100)
    second = refuse(room, KARI, hours=1)
    with transaction() as session:
        session.get_one(Release, second).resumed_at = 1
    assert suppressed(room) == set()


@pytest.mark.parametrize(("number", "expected"), [(19, 19), (20, 0), (60, 0)])
def test_a_day_on_which_a_domain_refuses_many_is_none(
    room: PressRoom, number: int, expected: int
) -> None:
    people = [f"reader{one}@down.example" for one in range(number)]
    room.add_followers(KARI, *people)
    refuse(room, KARI, *people, hours=100)
    refuse(room, KARI, *people, hours=1)
    assert len(suppressed(room)) == expected + 1
    assert KARI in suppressed(room)


def test_twenty_of_a_large_domain_are_no_many(room: PressRoom) -> None:
    people = [f"reader{one}@large.example" for one in range(201)]
    room.add_followers(*people)
    for hours in (100, 1):
        refuse(room, *people[:20], hours=hours)
    assert suppressed(room) == set(people[:20])


def test_refusals_of_every_release_count_for_the_day(room: PressRoom) -> None:
    people = [f"reader{one}@down.example" for one in range(60)]
    room.add_followers(*people)
    for hours in (100, 1):
        paused = refuse(room, *people[:50], hours=hours)
        with transaction() as session:
            session.get_one(Release, paused).resumed_at = 1
        refuse(room, *people[50:], hours=hours)
    assert suppressed(room) == set()


def test_many_of_a_domain_who_are_refused_on_different_days_are_dead(room: PressRoom) -> None:
    people = [f"reader{one}@small.example" for one in range(22)]
    room.add_followers(*people)
    for number, one in enumerate(people):
        for hours in (100, 1):
            refuse(room, one, hours=30 * number + hours)
    assert suppressed(room) == set(people)


def test_midnight_does_not_part_a_day(room: PressRoom) -> None:
    people = [f"reader{one}@down.example" for one in range(38)]
    room.add_followers(*people)
    for hours in (124, 28):
        # Nineteen of them twelve hours after the others, whenever this is run.
        refuse(room, *people[:19], hours=hours)
        refuse(room, *people[19:], hours=hours - 12)
    assert suppressed(room) == set()


def test_who_is_suppressed_already_counts_for_the_day(room: PressRoom) -> None:
    people = [f"reader{one}@down.example" for one in range(30)]
    room.add_followers(*people)
    for hours in (100, 1):
        refuse(room, *people, hours=hours)
    with transaction() as session:
        for one in session.query(Subscriber).where(Subscriber.address.in_(people[:15])):
            one.suppressed_at = now()
    assert suppressed(room) == set(people[:15])
