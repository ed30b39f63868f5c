"""The page of a release: what it shows, before its time, and once it was corrected or withdrawn."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest

from tests.conftest import Databases
from tests.plans import questions
from tests.support.press_room import NAME, PressRoom, open_press_room
from tests.support.releases import RELEASE
from tests.web.pages import ROOM, answering, text

if TYPE_CHECKING:
    from playwright.sync_api import Page

NOTE = "Skuta ligger fortsatt i Bergen."


@pytest.fixture
def room(databases: Databases) -> Iterator[PressRoom]:
    """One press room; nothing here depends on the kind of database."""
    with databases.fresh("sqlite") as url, open_press_room(url) as room:
        yield room


def page(room: PressRoom, release_id: int) -> str:
    """Read the page of a release as a visitor."""
    answer = room.client.get(f"{ROOM}{release_id}")
    assert answer.status_code == 200
    return text(answer)


def test_everything_of_a_release_is_on_its_page(room: PressRoom) -> None:
    shown = page(
        room,
        room.publish(
            lead="Etter to år.",
            image={"url": "https://example.org/skute.jpg", "alt": "Skuta", "credit": "Ada Øye"},
            contacts=[{"name": "Kari Bø", "title": "Direktør", "email": "kari@example.org"}],
            documents=[{"title": "Kart (PDF)", "url": "https://example.org/kart.pdf"}],
        ),
    )
    for part in (
        *("Skuta er hjemme", "Etter to år.", "<p>Skuta ligger ved kai.</p>", "Foto: Ada Øye"),
        *("https://example.org/skute.jpg", "Kari Bø", "Direktør", "mailto:kari@example.org"),
        *("Kart (PDF)", "https://example.org/kart.pdf"),
    ):
        assert part in shown


def test_what_a_release_refers_to_is_described_and_linked(room: PressRoom) -> None:
    other = room.publish(reference="annen", title="En annen", notify=False)
    gone = room.publish(reference="borte", title="En gal", notify=False)
    room.retract(gone, NOTE)
    one = room.publish(**{**RELEASE, "notify": False})
    shown = page(room, one)
    for part in (
        *("Tall (PDF)</a>", "340 kB", 'href="tel:+4700000000"', "bær, høst"),
        *("Årets første bøtte.", "Foto: Ola Nordmann", "Foto: Kari Nordmann", "Sørøya bærlag</a>"),
        *(f'href="{ROOM}{other}"', "Følg pressemeldinger fra"),
    ):
        assert part in shown
    assert "En gal" not in shown


def test_share_links_are_only_links(room: PressRoom) -> None:
    one = room.publish(notify=False, title="Skuta & mannskapet")
    shown, own = page(room, one), quote(f"{room.settings.base_url}{ROOM}{one}", safe="")
    assert f"https://www.facebook.com/sharer/sharer.php?u={own}" in shown
    assert f"https://www.linkedin.com/sharing/share-offsite/?url={own}" in shown
    assert f"mailto:?subject=Skuta%20%26%20mannskapet&body={own}" in shown
    assert "<script" not in shown.replace('<script type="application/ld+json">', "")


def properties(shown: str) -> dict[str, str]:
    """Return what a page tells by OpenGraph, or by a link in its head."""
    found = re.findall(r'<(?:meta property|link rel)="(.*?)" (?:content|href)="(.*?)"', shown)
    return dict(found)


def test_machines_are_told_what_the_page_is(room: PressRoom) -> None:
    moment = "2025-11-13T08:00:00+01:00"
    one = room.publish(**{**RELEASE, "notify": False, "published_at": moment})
    shown = page(room, one)
    told, url = properties(shown), f"{room.settings.base_url}{ROOM}{one}"
    assert told["og:type"] == "article"
    assert told["og:title"] == RELEASE["title"]
    assert told["og:description"] == RELEASE["lead"]
    assert told["og:image"] == RELEASE["image"]["url"]
    assert (told["og:url"], told["canonical"]) == (url, url)
    assert (told["og:locale"], told["article:published_time"]) == ("nb_NO", moment)


def linked_data(room: PressRoom, release_id: int) -> dict[str, Any]:
    source = room.client.get(f"{ROOM}{release_id}").text
    (found,) = re.findall(r'<script type="application/ld\+json">(.*?)</script>', source)
    data: dict[str, Any] = json.loads(found)
    return data


def test_linked_data_is_a_news_article_whatever_its_title(room: PressRoom) -> None:
    title = "</script><script>alert(1)</script> & <!-- {{ config }}"
    moment = "2025-11-13T08:00:00+01:00"
    one = room.publish(**{**RELEASE, "notify": False, "title": title, "published_at": moment})
    data = linked_data(room, one)
    assert (data["@context"], data["@type"]) == ("https://schema.org", "NewsArticle")
    assert (data["headline"], data["inLanguage"]) == (title, "nb")
    assert (data["datePublished"], data["keywords"]) == (moment, RELEASE["keywords"])
    assert data["image"] == ["https://example.org/blabaer.jpg", "https://example.org/baer.jpg"]
    assert data["publisher"]["name"] == NAME


def test_the_newest_version_is_the_one_to_be_found(room: PressRoom) -> None:
    first = room.publish(notify=False)
    second = room.correct(first, title="Skuta er i Bergen")
    url = f"{room.settings.base_url}{ROOM}{second}"
    assert [properties(page(room, one))["canonical"] for one in (first, second)] == [url, url]
    last = room.retract(second, NOTE)
    assert "ld+json" not in page(room, last)


def test_whoever_has_the_page_hears_of_a_correction(room: PressRoom) -> None:
    first = room.publish(notify=False)
    path = f"{ROOM}{first}"
    answer = room.client.get(path)
    have = {"If-None-Match": answer.headers["ETag"]}
    again = room.client.get(path, headers=have)
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["Content-Security-Policy"] == answer.headers["Content-Security-Policy"]
    room.correct(first, title="Skuta er i Bergen")
    assert room.client.get(path, headers=have).status_code == 200


def test_nothing_on_the_page_makes_a_browser_complain(room: PressRoom, page: Page) -> None:
    one = room.publish(**{**RELEASE, "notify": False, "image": None, "images": []})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    base = room.settings.base_url
    port = urlsplit(base).port
    assert port is not None
    with answering(room.app, port):
        page.goto(f"{base}{ROOM}{one}", wait_until="networkidle")
        assert page.locator("h1").inner_text() == RELEASE["title"]
    assert said == []


def test_only_pictures_come_from_elsewhere(room: PressRoom) -> None:
    policy = room.client.get(f"{ROOM}{room.publish()}").headers["Content-Security-Policy"]
    assert "img-src 'self' https: http:" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.mark.parametrize("later", [{"published_at": tomorrow()}, {"hold_minutes": 60}])
def test_what_is_not_out_yet_is_not_shown(room: PressRoom, later: dict[str, Any]) -> None:
    assert room.client.get(f"{ROOM}{room.publish(**later)}").status_code == 404


@pytest.mark.parametrize("path", ["0", "99", "9223372036854775808", "../1", "1/"])
def test_what_is_not_there_is_not_found(room: PressRoom, path: str) -> None:
    assert room.client.get(f"{ROOM}{path}").status_code in (404, 308)
    assert room.client.get(f"/nobody/{room.publish()}").status_code == 404


def test_both_versions_are_shown_and_lead_to_each_other(room: PressRoom) -> None:
    # For the record, so that it is out at once and nobody need be frozen.
    first = room.publish(notify=False)
    second = room.correct(first, title="Skuta er i Bergen", note=NOTE)
    old, new = page(room, first), page(room, second)
    assert "Denne pressemeldingen er rettet." in old
    assert f"{ROOM}{second}" in old
    assert NOTE not in old
    assert "Skuta er i Bergen" in new
    assert NOTE in new
    assert f"{ROOM}{first}" in new


def test_what_is_withdrawn_says_so_on_every_version(room: PressRoom) -> None:
    first = room.publish(notify=False)
    second = room.correct(first, title="Skuta er i Bergen")
    last = room.retract(second, NOTE)
    for one in (first, second, last):
        assert "Denne pressemeldingen ble trukket tilbake" in page(room, one)
    assert NOTE in page(room, last)
    assert "ved kai" not in page(room, last)


def test_what_is_withdrawn_looks_so_wherever_it_travels(room: PressRoom) -> None:
    picture = {"url": "https://museet.example/skute.jpg", "alt": "Skuta"}
    first = room.publish(title="Skuta er hjemme", image=picture, notify=False)
    before = page(room, first)
    for of_the_living in ("og:image", "application/ld+json", "linkedin.com", "skute.jpg"):
        assert of_the_living in before
    last = room.retract(first, NOTE)
    for one in (first, last):
        html = page(room, one)
        title = "Trukket tilbake: Skuta er hjemme"
        assert f"<title>{title}</title>" in html
        assert f'property="og:title" content="{title}"' in html
        assert re.search(r"<h1>Trukket tilbake: <span [^>]+>Skuta er hjemme</span></h1>", html)
        assert '<meta name="robots" content="noindex">' in html
        assert re.search(
            r"notice wrong.+ble trukket tilbake \d+\. \w+ \d{4} kl\. \d\d\.\d\d", html, re.DOTALL
        )
        for of_the_living in ("og:image", "application/ld+json", "linkedin.com", "skute.jpg"):
            assert of_the_living not in html


def test_who_has_the_page_already_makes_nobody_read_the_text(room: PressRoom) -> None:
    one = room.publish(notify=False)
    for path in (f"{ROOM}{one}", ROOM, f"{ROOM}feed.atom"):
        answer = room.client.get(path)
        with room.app.app_context(), questions() as asked:
            again = room.client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304
        assert asked
        assert not [statement for statement in asked if "releases.content" in statement]
