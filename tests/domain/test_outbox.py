"""How many letters a person can be made to get."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mailer.domain import publishers
from mailer.domain.followers import subscriptions
from mailer.domain.publishers import PublisherDraft
from tests.domain.conftest import TimePasses
from tests.support.press_room import EVIDENCE, KARI, OLA, SLUG, PressRoom
from tests.support.signed_links import look_up

ROOMS = [f"avis-{number}" for number in range(8)]


@pytest.fixture
def rooms(room: PressRoom) -> PressRoom:
    """Many press rooms in one service."""
    for slug in ROOMS:
        publishers.add(PublisherDraft(slug, slug.title(), "presse@example.org", "nb"))
    return room


def test_asking_twenty_times_an_hour_sends_two_letters(room: PressRoom) -> None:
    for _ in range(20):
        room.sign_up(KARI)
    assert room.letters() == ["confirm"] * 2


def test_the_letters_of_another_person_do_not_count(room: PressRoom) -> None:
    for address in (KARI, OLA):
        for _ in range(3):
            room.sign_up(address)
    assert room.letters() == ["confirm"] * 4


def test_an_hour_later_another_letter_may_go(room: PressRoom, time_passes: TimePasses) -> None:
    for _ in range(3):
        room.sign_up(KARI)
    time_passes(timedelta(minutes=59))
    room.sign_up(KARI)
    assert room.letters() == ["confirm"] * 2
    time_passes(timedelta(minutes=61))
    room.sign_up(KARI)
    assert room.letters() == ["confirm"] * 3


def test_all_press_rooms_together_send_five_letters_a_day(rooms: PressRoom) -> None:
    for slug in ROOMS:
        rooms.sign_up(KARI, slug=slug)
    assert rooms.letters() == ["confirm"] * 5


def test_a_day_later_another_letter_may_go(rooms: PressRoom, time_passes: TimePasses) -> None:
    for slug in ROOMS:
        rooms.sign_up(KARI, slug=slug)
    time_passes(timedelta(hours=23))
    rooms.sign_up(KARI, slug=SLUG)
    assert len(rooms.letters()) == 5
    time_passes(timedelta(hours=25))
    rooms.sign_up(KARI, slug=SLUG)
    assert len(rooms.letters()) == 6


def test_a_letter_that_does_not_go_leaves_no_proof_of_one(room: PressRoom) -> None:
    for _ in range(5):
        one = room.sign_up(KARI)
    assert room.steps(one) == ["requested"] * 2


def test_leaving_and_coming_back_all_day_sends_five_letters(room: PressRoom) -> None:
    """A letter may be forwarded, and its link can do this without end."""
    one = room.confirmed(KARI)
    for _ in range(10):
        room.unsubscribe(one)
        subscriptions.resume(room.settings, one, EVIDENCE)
    assert len(room.letters()) <= 5


def test_leaving_works_however_many_letters_there_were(rooms: PressRoom) -> None:
    one = rooms.confirmed(KARI)
    for slug in ROOMS:
        rooms.sign_up(KARI, slug=slug)
    rooms.unsubscribe(one)
    assert look_up(one).ended
