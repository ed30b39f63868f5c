"""Which language a page speaks, and how a visitor chooses another."""

from __future__ import annotations

import re

import pytest

from mailer.domain.tokens import Purpose
from tests.support.press_room import PressRoom
from tests.web.pages import FOLLOW, ROOM, text

PAGES = [ROOM, f"{ROOM}embed/code", f"{ROOM}privacy", "/nobody/"]


@pytest.mark.parametrize(
    ("query", "wishes", "language"),
    [
        ("", "", "nb"),
        ("", "de", "nb"),
        ("", "nn-NO, en;q=0.5", "nn"),
        ("", "de, en-GB;q=0.8", "en"),
        ("", "en;q=0, nn;q=0.1", "nn"),
        ("", "*", "nb"),
        ("?locale=nn", "en", "nn"),
        ("?locale=en", "nb", "en"),
        ("?locale=tlh", "nn", "nn"),
        ("?locale=tlh", "", "nb"),
    ],
)
def test_the_address_decides_then_the_browser_then_the_press_room(
    room: PressRoom, query: str, wishes: str, language: str
) -> None:
    for path in (ROOM, f"{ROOM}{room.publish(notify=False)}", f"{ROOM}privacy"):
        answer = room.client.get(f"{path}{query}", headers={"Accept-Language": wishes})
        assert f'<html lang="{language}"' in text(answer)
        assert answer.headers["Content-Language"] == language
        decided_elsewhere = query in ("?locale=nn", "?locale=en")
        assert ("Accept-Language" in answer.headers.get("Vary", "")) != decided_elsewhere


def test_a_page_that_is_still_good_varies_as_the_page_did(room: PressRoom) -> None:
    answer = room.client.get(ROOM)
    again = room.client.get(ROOM, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.headers["Vary"]) == (304, answer.headers["Vary"])


@pytest.mark.parametrize("path", PAGES)
def test_every_page_without_a_token_offers_the_languages_by_their_own_names(
    room: PressRoom, path: str
) -> None:
    page = text(room.client.get(f"{path}?locale=nn"))
    assert re.findall(r'<a href="\?locale=(\w+)" lang="(\w+)" hreflang="\w+"', page) == [
        (one, one) for one in ("en", "nb", "nn")
    ]
    for name in ("English", "Norsk bokmål", "Norsk nynorsk"):
        assert f">{name}</a>" in page
    assert re.findall(r'lang="(\w+)"[^>]*aria-current="true"', page) == ["nn"]


@pytest.mark.parametrize("page_name", ["confirm", "unsubscribe"])
def test_behind_a_token_it_is_the_reader_s_own_language(
    room: PressRoom, page_name: Purpose
) -> None:
    token = room.tokens.token(page_name, room.sign_up(locale="nn"))
    page = text(room.client.get(f"/{page_name}/{token}", headers={"Accept-Language": "en"}))
    assert '<html lang="nn"' in page
    assert "hreflang" not in page
    assert "hreflang" not in text(room.client.get(f"/{page_name}/wrong"))


def test_a_page_of_a_list_stays_when_the_language_changes(room: PressRoom) -> None:
    for number in range(11):
        room.publish(reference=f"r{number}", notify=False)
    assert 'href="?page=2&locale=nn"' in text(room.client.get(f"{ROOM}?page=2"))


def test_a_chosen_language_goes_along(room: PressRoom) -> None:
    one = room.publish(notify=False)
    page = text(room.client.get(f"{ROOM}?locale=nn"))
    assert f'href="{ROOM}{one}?locale=nn"' in page
    assert f'href="{ROOM}privacy?locale=nn"' in page
    assert f'rel="canonical" href="{room.settings.base_url}{ROOM}"' in page
    assert f'href="{ROOM}{one}"' in text(room.client.get(ROOM))


def test_the_switch_after_a_mistake_leads_back_to_the_page(room: PressRoom) -> None:
    assert 'href="?locale=nn"' in text(room.client.post(FOLLOW, data={"address": "kari"}))
    answer = room.client.get(f"{FOLLOW}?locale=nn")
    assert answer.headers["Location"] == f"{ROOM}?locale=nn"


def test_a_release_keeps_its_own_language(room: PressRoom) -> None:
    one = room.publish(notify=False, language="en", title="The ship is home")
    page = text(room.client.get(f"{ROOM}{one}?locale=nn"))
    assert '<html lang="nn"' in page
    assert '<h1><span lang="en">The ship is home</span></h1>' in page
