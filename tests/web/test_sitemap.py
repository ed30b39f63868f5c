"""What search engines are told, and what they are kept away from."""

from __future__ import annotations

from urllib.robotparser import RobotFileParser
from xml.etree.ElementTree import fromstring

import pytest

from mailer.web import feeds
from tests.conftest import on_both_databases
from tests.support.press_room import PressRoom
from tests.web.pages import ROOM

NAMESPACE = "{http://www.sitemaps.org/schemas/sitemap/0.9}"


def listed(room: PressRoom, path: str = "/sitemap.xml") -> list[str]:
    """Return the addresses in a sitemap, or in an index of sitemaps."""
    answer = room.client.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "application/xml")
    found = fromstring(answer.data).iter(f"{NAMESPACE}loc")
    return [(one.text or "").removeprefix(room.settings.base_url) for one in found]


@on_both_databases
def test_every_page_that_may_be_read_is_in_the_sitemap(room: PressRoom) -> None:
    first = room.publish(notify=False)
    second = room.correct(first, title="Skuta er i Bergen")
    other = room.publish(reference="b", notify=False)
    room.publish(reference="c", hold_minutes=60)
    room.retract(room.publish(reference="d", notify=False), "Feil.")
    assert listed(room) == [ROOM, f"{ROOM}{second}", f"{ROOM}{other}"]


@on_both_databases
def test_too_many_pages_for_one_file_come_in_several(
    room: PressRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "ENTRIES_A_FILE", 2)
    found = [f"{ROOM}{room.publish(reference=one, notify=False)}" for one in "abc"]
    assert listed(room) == ["/sitemap-1.xml", "/sitemap-2.xml"]
    assert listed(room, "/sitemap-1.xml") + listed(room, "/sitemap-2.xml") == [ROOM, *found]
    for number in ("0", "3", "9" * 30):
        assert room.client.get(f"/sitemap-{number}.xml").status_code == 404


def test_a_search_engine_that_has_it_gets_304(room: PressRoom) -> None:
    known = {"If-None-Match": room.client.get("/sitemap.xml").headers["ETag"]}
    assert room.client.get("/sitemap.xml", headers=known).status_code == 304
    room.publish(notify=False)
    assert room.client.get("/sitemap.xml", headers=known).status_code == 200


def test_robots_read_pages_and_leave_the_links_of_people_alone(room: PressRoom) -> None:
    answer = room.client.get("/robots.txt")
    assert answer.mimetype == "text/plain"
    base = room.settings.base_url
    robots = RobotFileParser()
    robots.parse(answer.text.splitlines())
    assert robots.site_maps() == [f"{base}/sitemap.xml"]
    assert robots.can_fetch("anyone", f"{base}{ROOM}1")
    for page_name in ("confirm", "unsubscribe", "one-click"):
        assert not robots.can_fetch("anyone", f"{base}/{page_name}/token")
