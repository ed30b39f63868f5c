"""The follow box on other people's pages: in a frame and as a plain form, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from werkzeug.wrappers import Response

from tests.conftest import Databases
from tests.processes import free_port
from tests.support.press_room import SLUG, PressRoom, open_press_room
from tests.web.pages import ROOM, answering

if TYPE_CHECKING:
    from playwright.sync_api import Page

EMBED = f"/{SLUG}/embed"
ASKED = "Sjekk innboksen til"


def snippets(room: PressRoom) -> list[str]:
    """Return what the page offers to copy, as it arrives on the clipboard."""
    page = room.client.get(f"{EMBED}/code").text
    found = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    return [unescape(one) for one in found]


@pytest.fixture
def elsewhere(room: PressRoom) -> Iterator[str]:
    """The page of somebody else, at another origin, with both boxes copied into it."""
    ours = urlsplit(room.settings.base_url).port
    assert ours is not None
    theirs = free_port()
    copied = "<!doctype html><title>Elsewhere</title>" + "".join(snippets(room))

    def other_site(environ: Any, start: Any) -> Iterable[bytes]:
        return Response(copied, mimetype="text/html")(environ, start)

    with answering(room.app, ours), answering(other_site, theirs):
        # Another host, too: a browser keeps cookies and frames apart by it.
        yield f"http://localhost:{theirs}/"


def test_the_box_works_in_a_frame_of_another_site(
    room: PressRoom, elsewhere: str, page: Page
) -> None:
    page.goto(elsewhere)
    frame = page.frame_locator("iframe")
    frame.locator("[name=address]").fill("kari")
    frame.locator("[type=submit]").click()
    frame.get_by_text("Skriv inn en e\u2011postadresse, for eksempel navn@eksempel.no.").wait_for()
    frame.locator("[name=address]").fill("kari@example.org")
    frame.locator("[type=submit]").click()
    frame.get_by_text(ASKED).wait_for()
    assert page.url == elsewhere
    [consent] = room.consents()
    assert (consent.step, consent.language) == ("requested", "nb")
    assert consent.page == f"{room.settings.base_url}{EMBED}"
    assert consent.network == "127.0.0.0/24"


def test_the_plain_form_works_from_another_site(
    room: PressRoom, elsewhere: str, page: Page
) -> None:
    page.goto(elsewhere)
    page.locator("form [name=address]").fill("kåre@example.org")
    page.locator("form [type=submit]").click()
    page.get_by_text(ASKED).wait_for()
    assert page.url == f"{room.settings.base_url}/{SLUG}/follow"
    assert [(one.step, one.language) for one in room.consents()] == [("requested", "nb")]
    assert page.context.cookies() == []


def test_no_link_of_a_framed_page_leads_to_one_that_may_not_be_framed(room: PressRoom) -> None:
    answers = [
        room.client.get(EMBED),
        room.client.post(EMBED, data={"address": "kari"}),
        room.client.post(EMBED, data={"address": "kari@example.org"}),
    ]
    for answer in answers:
        assert "frame-ancestors *" in answer.headers["Content-Security-Policy"]
        for tag in re.findall(r"<a [^>]*>", answer.text):
            assert 'target="_blank"' in tag or f'href="{EMBED}' in tag, tag
        for action in re.findall(r'<form [^>]*action="([^"]*)"', answer.text):
            assert action == EMBED


def test_only_the_box_may_be_framed(room: PressRoom) -> None:
    for path in (ROOM, f"{EMBED}/code", f"/{SLUG}/privacy"):
        assert "frame-ancestors 'none'" in room.client.get(path).headers["Content-Security-Policy"]


def test_what_is_copied_names_no_address_but_ours(room: PressRoom) -> None:
    frame, form = snippets(room)
    base = room.settings.base_url
    assert set(re.findall(r"https?://[^/]+", frame + form)) == {base}
    assert "script" not in frame + form
    assert 'accept-charset="utf-8"' in form
    # A name in it is markup once more.
    assert "Fjord &amp; Fjell &lt;Norge&gt;" in frame
    assert "Fjord &amp; Fjell &lt;Norge&gt;" in form


def test_the_frame_is_limited_together_with_the_form(databases: Databases) -> None:
    with (
        databases.fresh("sqlite") as url,
        open_press_room(url, MAILER_FOLLOWS_A_MINUTE_IN_ALL="2") as room,
    ):
        client = room.client
        paths = (EMBED, f"/{SLUG}/follow", EMBED, f"/{SLUG}/follow")
        answers = [client.post(path, data={"address": "kari@example.org"}) for path in paths]
        assert [one.status_code for one in answers] == [202, 202, 429, 429]
        assert "frame-ancestors *" in answers[2].headers["Content-Security-Policy"]
        assert client.get(EMBED).status_code == 200


def test_the_honeypot_is_in_the_frame_too(room: PressRoom) -> None:
    answer = room.client.post(EMBED, data={"address": "kari@example.org", "message": "spam"})
    assert answer.status_code == 202
    assert room.everything()["subscriptions"] == []
