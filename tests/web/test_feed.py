"""The feed: what a reader is told of each release, for ever under the same name."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

from tests.domain.press_room import RELEASE
from tests.web.site import NAME, ROOM, Site, text

ATOM = "{http://www.w3.org/2005/Atom}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
FEED = f"{ROOM}feed.atom"


def read(site: Site, path: str = FEED) -> Element:
    """Read the feed as a feed reader does."""
    answer = site.client.get(path)
    assert answer.headers["Content-Type"] == "application/atom+xml; charset=utf-8"
    return fromstring(answer.data)


def entry(site: Site) -> Element:
    """Read the only entry of the feed."""
    (one,) = read(site).findall(f"{ATOM}entry")
    return one


def link(element: Element, rel: str) -> str | None:
    found = element.find(f"{ATOM}link[@rel='{rel}']")
    assert found is not None
    return found.get("href")


def test_the_feed_has_what_rfc_4287_wants(site: Site) -> None:
    feed = read(site)
    base = site.settings.base_url
    assert feed.tag == f"{ATOM}feed"
    assert feed.get(LANG) == "nb"
    assert feed.findtext(f"{ATOM}title") == NAME
    assert feed.findtext(f"{ATOM}author/{ATOM}name") == NAME
    assert (feed.findtext(f"{ATOM}id") or "").startswith("tag:example.org,")
    assert (feed.findtext(f"{ATOM}updated") or "").endswith("+00:00")
    assert link(feed, "self") == base + FEED
    assert link(feed, "alternate") == base + ROOM


def test_an_entry_is_the_whole_release(site: Site) -> None:
    moment = "2025-11-13T08:00:00+01:00"
    release_id = site.publish(**{**RELEASE, "notify": False, "published_at": moment})
    one = entry(site)
    assert one.get(LANG) == "nb"
    assert one.findtext(f"{ATOM}title") == RELEASE["title"]
    assert one.findtext(f"{ATOM}summary") == RELEASE["lead"]
    content = one.find(f"{ATOM}content")
    assert content is not None
    assert (content.get("type"), content.text) == ("html", RELEASE["body_html"])
    assert one.findtext(f"{ATOM}published") == moment
    assert link(one, "alternate") == f"{site.settings.base_url}{ROOM}{release_id}"


def test_a_correction_is_the_same_entry_updated(site: Site) -> None:
    first = site.publish(notify=False)
    before = entry(site)
    site.correct(first, title="Skuta er i Bergen")
    after = entry(site)
    assert after.findtext(f"{ATOM}id") == before.findtext(f"{ATOM}id")
    assert after.findtext(f"{ATOM}title") == "Skuta er i Bergen"
    updated = [one.findtext(f"{ATOM}updated") or "" for one in (before, after)]
    assert updated[0] < updated[1]
    assert read(site).findtext(f"{ATOM}updated") == updated[1]


def test_a_retraction_takes_the_text_away(site: Site) -> None:
    site.retract(site.publish(notify=False), "Skuta er ikke hjemme.")
    one = entry(site)
    assert one.findtext(f"{ATOM}title") == "Trukket tilbake: Skuta er hjemme"
    assert one.findtext(f"{ATOM}summary") == "Skuta er ikke hjemme."
    assert one.find(f"{ATOM}content") is None


def test_two_releases_have_two_names(site: Site) -> None:
    site.publish(reference="a", notify=False)
    site.publish(reference="b", notify=False)
    names = {one.findtext(f"{ATOM}id") for one in read(site).findall(f"{ATOM}entry")}
    assert len(names) == 2


def test_nothing_in_a_release_breaks_the_feed(site: Site) -> None:
    title = "</title><script>&amp;]]> \ufffe\uffff{{ config }}"
    site.publish(title=title, body_html="<p>a &amp; b &lt;c&gt; \uffff</p>", notify=False)
    one = entry(site)
    assert one.findtext(f"{ATOM}title") == "</title><script>&amp;]]> {{ config }}"
    assert one.findtext(f"{ATOM}content") == "<p>a &amp; b &lt;c&gt; </p>"


def test_a_feed_speaks_the_language_of_its_room_whoever_asks(site: Site) -> None:
    site.retract(site.publish(notify=False), "Feil.")
    answer = site.client.get(FEED, headers={"Accept-Language": "en"})
    assert "Trukket tilbake" in text(answer)
    assert "Accept-Language" not in answer.headers.get("Vary", "")
    assert "Withdrawn: " in text(site.client.get(f"{FEED}?locale=en"))


def test_a_reader_who_has_it_all_gets_304(site: Site) -> None:
    first = site.publish(notify=False)
    known = {"If-None-Match": site.client.get(FEED).headers["ETag"]}
    assert site.client.get(FEED, headers=known).status_code == 304
    site.correct(first, title="Skuta er i Bergen")
    assert site.client.get(FEED, headers=known).status_code == 200


def test_browsers_find_the_feed(site: Site) -> None:
    for path in (ROOM, f"{ROOM}{site.publish(notify=False)}"):
        page = text(site.client.get(path))
        assert f'<link rel="alternate" type="application/atom+xml" href="{FEED}"' in page


def test_a_feed_of_nobody_is_not_there(site: Site) -> None:
    assert site.client.get("/nobody/feed.atom").status_code == 404
