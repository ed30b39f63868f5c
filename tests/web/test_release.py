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
from tests.domain.press_room import RELEASE
from tests.web.site import NAME, ROOM, Site, answering, open_site, text

if TYPE_CHECKING:
    from playwright.sync_api import Page

NOTE = "Skuta ligger fortsatt i Bergen."


@pytest.fixture
def site(databases: Databases) -> Iterator[Site]:
    """One press room; nothing here depends on the kind of database."""
    with databases.fresh("sqlite") as url, open_site(url) as site:
        yield site


def page(site: Site, release_id: int) -> str:
    """Read the page of a release as a visitor."""
    answer = site.client.get(f"{ROOM}{release_id}")
    assert answer.status_code == 200
    return text(answer)


def test_everything_of_a_release_is_on_its_page(site: Site) -> None:
    shown = page(
        site,
        site.publish(
            lead="Etter to år.",
            image={"url": "https://example.org/skute.jpg", "alt": "Skuta", "credit": "Ada Øye"},
            contacts=[{"name": "Kari Bø", "title": "Direktør", "email": "kari@example.org"}],
            documents=[{"title": "Kart (PDF)", "url": "https://example.org/kart.pdf"}],
        ),
    )
    for part in (
        *("Skuta er hjemme", "Etter to år.", "<p>Den ligger ved kai.</p>", "Foto: Ada Øye"),
        *("https://example.org/skute.jpg", "Kari Bø", "Direktør", "mailto:kari@example.org"),
        *("Kart (PDF)", "https://example.org/kart.pdf"),
    ):
        assert part in shown


def test_what_a_release_refers_to_is_described_and_linked(site: Site) -> None:
    other = site.publish(reference="annen", title="En annen", notify=False)
    gone = site.publish(reference="borte", title="En gal", notify=False)
    site.retract(gone, NOTE)
    one = site.publish(**{**RELEASE, "notify": False})
    shown = page(site, one)
    for part in (
        *("Tall (PDF)</a>", "340\N{NO-BREAK SPACE}kB", 'href="tel:+4700000000"', "bær, høst"),
        *("Årets første bøtte.", "Foto: Ola Nordmann", "Foto: Kari Nordmann", "Sørøya bærlag</a>"),
        *(f'href="{ROOM}{other}"', "Følg pressemeldinger fra"),
    ):
        assert part in shown
    assert "En gal" not in shown


def test_share_links_are_only_links(site: Site) -> None:
    one = site.publish(notify=False, title="Skuta & mannskapet")
    shown, own = page(site, one), quote(f"{site.settings.base_url}{ROOM}{one}", safe="")
    assert f"https://www.facebook.com/sharer/sharer.php?u={own}" in shown
    assert f"https://www.linkedin.com/sharing/share-offsite/?url={own}" in shown
    assert f"mailto:?subject=Skuta%20%26%20mannskapet&body={own}" in shown
    assert "<script" not in shown.replace('<script type="application/ld+json">', "")


def properties(shown: str) -> dict[str, str]:
    """Return what a page tells by OpenGraph, or by a link in its head."""
    found = re.findall(r'<(?:meta property|link rel)="(.*?)" (?:content|href)="(.*?)"', shown)
    return dict(found)


def test_machines_are_told_what_the_page_is(site: Site) -> None:
    moment = "2025-11-13T08:00:00+01:00"
    one = site.publish(**{**RELEASE, "notify": False, "published_at": moment})
    shown = page(site, one)
    told, url = properties(shown), f"{site.settings.base_url}{ROOM}{one}"
    assert told["og:type"] == "article"
    assert told["og:title"] == RELEASE["title"]
    assert told["og:description"] == RELEASE["lead"]
    assert told["og:image"] == RELEASE["image"]["url"]
    assert (told["og:url"], told["canonical"]) == (url, url)
    assert (told["og:locale"], told["article:published_time"]) == ("nb_NO", moment)


def linked_data(site: Site, release_id: int) -> dict[str, Any]:
    source = site.client.get(f"{ROOM}{release_id}").text
    (found,) = re.findall(r'<script type="application/ld\+json">(.*?)</script>', source)
    data: dict[str, Any] = json.loads(found)
    return data


def test_linked_data_is_a_news_article_whatever_its_title(site: Site) -> None:
    title = "</script><script>alert(1)</script> & <!-- {{ config }}"
    moment = "2025-11-13T08:00:00+01:00"
    one = site.publish(**{**RELEASE, "notify": False, "title": title, "published_at": moment})
    data = linked_data(site, one)
    assert (data["@context"], data["@type"]) == ("https://schema.org", "NewsArticle")
    assert (data["headline"], data["inLanguage"]) == (title, "nb")
    assert (data["datePublished"], data["keywords"]) == (moment, RELEASE["keywords"])
    assert data["image"] == ["https://example.org/blabaer.jpg", "https://example.org/baer.jpg"]
    assert data["publisher"]["name"] == NAME


def test_the_newest_version_is_the_one_to_be_found(site: Site) -> None:
    first = site.publish(notify=False)
    second = site.correct(first, title="Skuta er i Bergen")
    url = f"{site.settings.base_url}{ROOM}{second}"
    assert [properties(page(site, one))["canonical"] for one in (first, second)] == [url, url]
    last = site.retract(second, NOTE)
    assert "ld+json" not in page(site, last)


def test_whoever_has_the_page_hears_of_a_correction(site: Site) -> None:
    first = site.publish(notify=False)
    path = f"{ROOM}{first}"
    answer = site.client.get(path)
    have = {"If-None-Match": answer.headers["ETag"]}
    again = site.client.get(path, headers=have)
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["Content-Security-Policy"] == answer.headers["Content-Security-Policy"]
    site.correct(first, title="Skuta er i Bergen")
    assert site.client.get(path, headers=have).status_code == 200


def test_nothing_on_the_page_makes_a_browser_complain(site: Site, page: Page) -> None:
    one = site.publish(**{**RELEASE, "notify": False, "image": None, "images": []})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    base = site.settings.base_url
    port = urlsplit(base).port
    assert port is not None
    with answering(site.app, port):
        page.goto(f"{base}{ROOM}{one}", wait_until="networkidle")
        assert page.locator("h1").inner_text() == RELEASE["title"]
    assert said == []


def test_only_pictures_come_from_elsewhere(site: Site) -> None:
    policy = site.client.get(f"{ROOM}{site.publish()}").headers["Content-Security-Policy"]
    assert "img-src 'self' https: http:" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.mark.parametrize("later", [{"published_at": tomorrow()}, {"hold_minutes": 60}])
def test_what_is_not_out_yet_is_not_shown(site: Site, later: dict[str, Any]) -> None:
    assert site.client.get(f"{ROOM}{site.publish(**later)}").status_code == 404


@pytest.mark.parametrize("path", ["0", "99", "9223372036854775808", "../1", "1/"])
def test_what_is_not_there_is_not_found(site: Site, path: str) -> None:
    assert site.client.get(f"{ROOM}{path}").status_code in (404, 308)
    assert site.client.get(f"/nobody/{site.publish()}").status_code == 404


def test_both_versions_are_shown_and_lead_to_each_other(site: Site) -> None:
    # For the record, so that it is out at once and nobody need be frozen.
    first = site.publish(notify=False)
    second = site.correct(first, title="Skuta er i Bergen", note=NOTE)
    old, new = page(site, first), page(site, second)
    assert "Denne pressemeldingen er rettet." in old
    assert f"{ROOM}{second}" in old
    assert NOTE not in old
    assert "Skuta er i Bergen" in new
    assert NOTE in new
    assert f"{ROOM}{first}" in new


def test_what_is_withdrawn_says_so_on_every_version(site: Site) -> None:
    first = site.publish(notify=False)
    second = site.correct(first, title="Skuta er i Bergen")
    last = site.retract(second, NOTE)
    for one in (first, second, last):
        assert "er trukket tilbake" in page(site, one)
    assert NOTE in page(site, last)
    assert "ved kai" not in page(site, last)
