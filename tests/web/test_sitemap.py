"""What search engines are told, and what they are kept away from."""

from __future__ import annotations

from urllib.robotparser import RobotFileParser
from xml.etree.ElementTree import fromstring

import pytest

from mailer.web import feeds
from tests.web.house import ROOM, House

NAMESPACE = "{http://www.sitemaps.org/schemas/sitemap/0.9}"


def listed(home: House, path: str = "/sitemap.xml") -> list[str]:
    """Return the addresses in a sitemap, or in an index of sitemaps."""
    answer = home.client.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "application/xml")
    found = fromstring(answer.data).iter(f"{NAMESPACE}loc")
    return [(one.text or "").removeprefix(home.settings.base_url) for one in found]


def test_every_page_that_may_be_read_is_in_the_sitemap(home: House) -> None:
    first = home.publish(notify=False)
    second = home.correct(first, title="Skuta er i Bergen")
    other = home.publish(reference="b", notify=False)
    home.publish(reference="c", hold_minutes=60)
    home.retract(home.publish(reference="d", notify=False), "Feil.")
    assert listed(home) == [ROOM, f"{ROOM}{second}", f"{ROOM}{other}"]


def test_too_many_pages_for_one_file_come_in_several(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "ENTRIES_A_FILE", 2)
    found = [f"{ROOM}{home.publish(reference=one, notify=False)}" for one in "abc"]
    assert listed(home) == ["/sitemap-1.xml", "/sitemap-2.xml"]
    assert listed(home, "/sitemap-1.xml") + listed(home, "/sitemap-2.xml") == [ROOM, *found]
    for number in ("0", "3", "9" * 30):
        assert home.client.get(f"/sitemap-{number}.xml").status_code == 404


def test_a_search_engine_that_has_it_gets_304(home: House) -> None:
    known = {"If-None-Match": home.client.get("/sitemap.xml").headers["ETag"]}
    assert home.client.get("/sitemap.xml", headers=known).status_code == 304
    home.publish(notify=False)
    assert home.client.get("/sitemap.xml", headers=known).status_code == 200


def test_robots_read_pages_and_leave_the_links_of_people_alone(home: House) -> None:
    answer = home.client.get("/robots.txt")
    assert answer.mimetype == "text/plain"
    base = home.settings.base_url
    robots = RobotFileParser()
    robots.parse(answer.text.splitlines())
    assert robots.site_maps() == [f"{base}/sitemap.xml"]
    assert robots.can_fetch("anyone", f"{base}{ROOM}1")
    for door in ("confirm", "unsubscribe", "one-click"):
        assert not robots.can_fetch("anyone", f"{base}/{door}/token")
