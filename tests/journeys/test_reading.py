"""Reading in a real Chromium: the press room, a release with its versions, and what is about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from mailer.demo import samples
from mailer.domain import publishers
from tests.journeys.spectator import Manner, Spectator
from tests.service import Service, application
from tests.support.publishing_system import PublishingSystem
from tests.validator import problems

MANNERS = [Manner("nb"), Manner("nn", width=320), Manner("en", javascript=False)]
LARGEST = 60_000
"""Octets of a press room with all that it needs but pictures."""
_RELEASES = 12


@pytest.fixture(scope="module")
def press_room(service: Service) -> str:
    """The address of a press room with a history; its newest release was corrected."""
    with application(service.environment):
        key = publishers.add(
            publishers.PublisherDraft("oya", "Øya kommune", "presse@example.org", "nb")
        )
    office = PublishingSystem(service.url, key)
    for number in range(_RELEASES):
        office.done(office.publish(f"brygga-{number}", lead="Nå kan alle gå der.", notify=False))
    sample = samples.news(samples.read(), "https://museum.example.org")
    sample = {**sample, "image": None, "images": []}
    first = office.publish("skuta", **{k: v for k, v in sample.items() if k != "reference"})
    office.done(first)
    office.call(
        f"/api/v1/releases/{first['id']}/correct",
        {**sample, "reference": "skuta", "title": "Skuta er endelig hjemme"},
    )
    return f"{service.url}/oya/"


@pytest.fixture(params=MANNERS, ids=str)
def seen(
    request: pytest.FixtureRequest, browser: Browser, press_room: str, tmp_path: Path
) -> Iterator[Spectator]:
    """A browser that is used in one of the ways, and watched; its pages must be valid."""
    with Spectator.beside(browser, request.param, press_room, tmp_path) as spectator:
        yield spectator
    if any(tmp_path.iterdir()):
        assert problems(tmp_path) == []


def test_from_the_press_room_to_a_release_and_its_versions(
    seen: Spectator, press_room: str
) -> None:
    page = seen.page
    page.goto(press_room)
    seen.look("room")
    page.locator("a[rel=next]").click()
    seen.look("room-older")
    page.goto(press_room)
    page.locator(".headlines a").first.click()
    seen.look("release")
    assert page.locator("h1").inner_text() == "Skuta er endelig hjemme"
    page.locator(".notice a").first.click()
    seen.look("release-before")


def test_the_small_pages(seen: Spectator, press_room: str) -> None:
    for path in ("privacy", "embed", "embed/code", "nothing-here"):
        seen.page.goto(press_room + path)
        seen.look(path.replace("/", "-"))


def test_a_language_is_chosen_and_goes_along(seen: Spectator, press_room: str) -> None:
    page = seen.page
    page.goto(press_room)
    page.locator("nav a[hreflang=nn]").click()
    page.locator(".headlines a").first.click()
    assert page.locator("html").get_attribute("lang") == "nn"


@pytest.mark.parametrize("seen", [Manner()], indirect=True, ids=str)
def test_a_press_room_is_light(seen: Spectator, press_room: str) -> None:
    weights = []
    seen.page.on("response", lambda response: weights.append(len(response.body())))
    seen.page.goto(press_room, wait_until="networkidle")
    assert len(weights) >= 3
    assert sum(weights) <= LARGEST
