"""The feed: what a reader is told of each release, for ever under the same name."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

from tests.conftest import on_both_databases
from tests.support.press_room import NAME, PressRoom
from tests.support.releases import RELEASE
from tests.web.pages import ROOM, text

ATOM = "{http://www.w3.org/2005/Atom}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
FEED = f"{ROOM}feed.atom"


def read(room: PressRoom, path: str = FEED) -> Element:
    """Read the feed as a feed reader does."""
    answer = room.client.get(path)
    assert answer.headers["Content-Type"] == "application/atom+xml; charset=utf-8"
    return fromstring(answer.data)


def entry(room: PressRoom) -> Element:
    """Read the only entry of the feed."""
    (one,) = read(room).findall(f"{ATOM}entry")
    return one


def link(element: Element, rel: str) -> str | None:
    found = element.find(f"{ATOM}link[@rel='{rel}']")
    assert found is not None
    return found.get("href")


@on_both_databases
def test_the_feed_has_what_rfc_4287_wants(room: PressRoom) -> None:
    feed = read(room)
    base = room.settings.base_url
    assert feed.tag == f"{ATOM}feed"
    assert feed.get(LANG) == "nb"
    assert feed.findtext(f"{ATOM}title") == NAME
    assert feed.findtext(f"{ATOM}author/{ATOM}name") == NAME
    assert (feed.findtext(f"{ATOM}id") or "").startswith("tag:example.org,")
    assert (feed.findtext(f"{ATOM}updated") or "").endswith("+00:00")
    assert link(feed, "self") == base + FEED
    assert link(feed, "alternate") == base + ROOM


def test_an_entry_is_the_whole_release(room: PressRoom) -> None:
    moment = "2025-11-13T08:00:00+01:00"
    release_id = room.publish(**{**RELEASE, "notify": False, "published_at": moment})
    one = entry(room)
    assert one.get(LANG) == "nb"
    assert one.findtext(f"{ATOM}title") == RELEASE["title"]
    assert one.findtext(f"{ATOM}summary") == RELEASE["lead"]
    content = one.find(f"{ATOM}content")
    assert content is not None
    assert (content.get("type"), content.text) == ("html", RELEASE["body_html"])
    assert one.findtext(f"{ATOM}published") == moment
    assert link(one, "alternate") == f"{room.settings.base_url}{ROOM}{release_id}"


def test_a_correction_is_the_same_entry_updated(room: PressRoom) -> None:
    first = room.publish(notify=False)
    before = entry(room)
    room.correct(first, title="Skuta er i Bergen")
    after = entry(room)
    assert after.findtext(f"{ATOM}id") == before.findtext(f"{ATOM}id")
    assert after.findtext(f"{ATOM}title") == "Skuta er i Bergen"
    updated = [one.findtext(f"{ATOM}updated") or "" for one in (before, after)]
    assert updated[0] < updated[1]
    assert read(room).findtext(f"{ATOM}updated") == updated[1]


def test_a_retraction_takes_the_text_away(room: PressRoom) -> None:
    room.retract(room.publish(notify=False), "Skuta er ikke hjemme.")
    one = entry(room)
    assert one.findtext(f"{ATOM}title") == "Trukket tilbake: Skuta er hjemme"
    assert one.findtext(f"{ATOM}summary") == "Skuta er ikke hjemme."
    assert one.find(f"{ATOM}content") is None


def test_two_releases_have_two_names(room: PressRoom) -> None:
    room.publish(reference="a", notify=False)
    room.publish(reference="b", notify=False)
    names = {one.findtext(f"{ATOM}id") for one in read(room).findall(f"{ATOM}entry")}
    assert len(names) == 2


def test_nothing_in_a_release_breaks_the_feed(room: PressRoom) -> None:
    title = "</title><script>&amp;]]> \ufffe\uffff{{ config }}"
    room.publish(title=title, body_html="<p>a &amp; b &lt;c&gt; \uffff</p>", notify=False)
    one = entry(room)
    assert one.findtext(f"{ATOM}title") == "</title><script>&amp;]]> {{ config }}"
    assert one.findtext(f"{ATOM}content") == "<p>a &amp; b &lt;c&gt; </p>"


def test_a_feed_speaks_the_language_of_its_room_whoever_asks(room: PressRoom) -> None:
    room.retract(room.publish(notify=False), "Feil.")
    answer = room.client.get(FEED, headers={"Accept-Language": "en"})
    assert "Trukket tilbake" in text(answer)
    assert "Accept-Language" not in answer.headers.get("Vary", "")
    assert "Withdrawn: " in text(room.client.get(f"{FEED}?locale=en"))


def test_a_reader_who_has_it_all_gets_304(room: PressRoom) -> None:
    first = room.publish(notify=False)
    known = {"If-None-Match": room.client.get(FEED).headers["ETag"]}
    assert room.client.get(FEED, headers=known).status_code == 304
    room.correct(first, title="Skuta er i Bergen")
    assert room.client.get(FEED, headers=known).status_code == 200


def test_browsers_find_the_feed(room: PressRoom) -> None:
    for path in (ROOM, f"{ROOM}{room.publish(notify=False)}"):
        page = text(room.client.get(path))
        assert f'<link rel="alternate" type="application/atom+xml" href="{FEED}"' in page


def test_a_feed_of_nobody_is_not_there(room: PressRoom) -> None:
    assert room.client.get("/nobody/feed.atom").status_code == 404
