"""The whole story on the whole running service: follow, confirm, read, leave, come back."""

from __future__ import annotations

import zlib

import pytest

from mailer.domain import publishers
from tests.journeys.people import Visitor, link, one_click
from tests.relay import Relay
from tests.service import Service, application
from tests.support.publishing_system import PublishingSystem


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service_database(request: pytest.FixtureRequest) -> str:
    """Both kinds: this is the journey that shows the whole service on each."""
    return str(request.param)


@pytest.fixture(scope="module")
def press_office(service: Service) -> PublishingSystem:
    """The press room `oya`, opened by an operator, and its publishing system."""
    with application(service.environment):
        key = publishers.add(
            publishers.PublisherDraft("oya", "Øya kommune", "presse@example.org", "nb")
        )
    return PublishingSystem(service.url, key)


@pytest.fixture
def press_room(service: Service, press_office: PublishingSystem) -> str:
    """The address of the press room's page."""
    return f"{service.url}/oya/"


@pytest.fixture
def kari(relay_server: Relay, request: pytest.FixtureRequest) -> Visitor:
    """A visitor with an address nobody else has."""
    return Visitor(relay_server, f"kari.{zlib.crc32(request.node.nodeid.encode())}@example.org")


def test_a_visitor_follows_and_gets_the_release(
    kari: Visitor, press_room: str, press_office: PublishingSystem
) -> None:
    welcome = kari.follow(press_room)
    assert "Øya kommune" in welcome["Subject"]
    receipt = press_office.done(press_office.publish("brygga-1"))
    letter = kari.letters(3)[2]
    assert letter["Subject"] == "Brygga er åpen igjen"
    assert letter["To"] == kari.address
    body = letter.get_body(("html",))
    assert body is not None
    assert "Nå kan alle gå på brygga." in body.get_content()
    assert receipt["accepted"] >= 1


def test_the_same_call_again_sends_nothing_again(
    kari: Visitor, press_room: str, press_office: PublishingSystem
) -> None:
    kari.follow(press_room)
    same = {"published_at": None}
    first = press_office.publish("brygga-2", **same)
    press_office.done(first)
    assert press_office.publish("brygga-2", **same) == first
    press_office.done(press_office.publish("brygga-3", title="Brygga er malt"))
    assert [letter["Subject"] for letter in kari.letters(4)[2:]] == [
        "Brygga er åpen igjen",
        "Brygga er malt",
    ]


def test_looking_confirms_nothing(
    kari: Visitor, press_room: str, press_office: PublishingSystem
) -> None:
    kari.press(kari.get(press_room), address=kari.address)
    [question] = kari.letters(1)
    assert kari.get(link(question, "/confirm/")).status == 200
    press_office.done(press_office.publish("brygga-4"))
    kari.press(kari.get(link(question, "/confirm/")))
    press_office.done(press_office.publish("brygga-5", title="Brygga er malt"))
    # The welcome and the release go their own ways, and either may be first.
    subjects = {letter["Subject"] for letter in kari.letters(3)}
    assert "Brygga er malt" in subjects
    assert "Brygga er åpen igjen" not in subjects


def test_a_recipient_leaves_by_the_page_and_comes_back(
    kari: Visitor, press_room: str, press_office: PublishingSystem
) -> None:
    welcome = kari.follow(press_room)
    page = kari.get(link(welcome, "/unsubscribe/"))
    press_office.done(press_office.publish("brygga-6", title="Looking ends nothing"))
    goodbye_page = kari.press(page)
    press_office.done(press_office.publish("brygga-7", title="Not for who left"))
    kari.press(goodbye_page)
    press_office.done(press_office.publish("brygga-8", title="Back again"))
    subjects = [letter["Subject"] for letter in kari.letters(5)[2:]]
    assert subjects[0] == "Looking ends nothing"
    assert subjects[2] == "Back again"
    assert "Not for who left" not in subjects


def test_one_click_leaves_for_ever(
    kari: Visitor, press_room: str, press_office: PublishingSystem
) -> None:
    kari.follow(press_room)
    press_office.done(press_office.publish("brygga-9"))
    letter = kari.letters(3)[2]
    answer = kari.post(one_click(letter), {"List-Unsubscribe": "One-Click"})
    assert answer.status == 200
    goodbye = kari.letters(4)[3]
    press_office.done(press_office.publish("brygga-10"))
    # Whatever came after the goodbye would have come before the release was done.
    assert kari.letters(4)[-1]["Subject"] == goodbye["Subject"]
    assert kari.post(one_click(letter), {"List-Unsubscribe": "One-Click"}).status == 200


def test_no_log_holds_an_address_or_a_link(
    kari: Visitor, press_room: str, press_office: PublishingSystem, service: Service
) -> None:
    welcome = kari.follow(press_room)
    press_office.done(press_office.publish("brygga-11"))
    token = link(welcome, "/unsubscribe/").rpartition("/")[2]
    kari.get(link(welcome, "/unsubscribe/") + "x")
    kari.post(one_click(welcome), {"List-Unsubscribe": "One-Click"})
    kari.letters(4)
    for name in service.processes:
        assert kari.address not in service.log(name)
        assert token not in service.log(name)
