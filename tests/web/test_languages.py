"""Which language a page speaks, and how a visitor chooses another."""

from __future__ import annotations

import re

import pytest

from mailer.domain.tokens import Purpose
from tests.web.site import FOLLOW, ROOM, Site, text

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
    site: Site, query: str, wishes: str, language: str
) -> None:
    for path in (ROOM, f"{ROOM}{site.publish(notify=False)}", f"{ROOM}privacy"):
        answer = site.client.get(f"{path}{query}", headers={"Accept-Language": wishes})
        assert f'<html lang="{language}"' in text(answer)
        assert answer.headers["Content-Language"] == language
        decided_elsewhere = query in ("?locale=nn", "?locale=en")
        assert ("Accept-Language" in answer.headers.get("Vary", "")) != decided_elsewhere


def test_a_page_that_is_still_good_varies_as_the_page_did(site: Site) -> None:
    answer = site.client.get(ROOM)
    again = site.client.get(ROOM, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.headers["Vary"]) == (304, answer.headers["Vary"])


@pytest.mark.parametrize("path", PAGES)
def test_every_page_without_a_token_offers_the_languages_by_their_own_names(
    site: Site, path: str
) -> None:
    page = text(site.client.get(f"{path}?locale=nn"))
    assert re.findall(r'<a href="\?locale=(\w+)" lang="(\w+)" hreflang="\w+"', page) == [
        (one, one) for one in ("en", "nb", "nn")
    ]
    for name in ("English", "Norsk bokmål", "Norsk nynorsk"):
        assert f">{name}</a>" in page
    assert re.findall(r'lang="(\w+)"[^>]*aria-current="true"', page) == ["nn"]


@pytest.mark.parametrize("page_name", ["confirm", "unsubscribe"])
def test_behind_a_token_it_is_the_reader_s_own_language(site: Site, page_name: Purpose) -> None:
    token = site.links.token(page_name, site.requested(locale="nn"))
    page = text(site.client.get(f"/{page_name}/{token}", headers={"Accept-Language": "en"}))
    assert '<html lang="nn"' in page
    assert "hreflang" not in page
    assert "hreflang" not in text(site.client.get(f"/{page_name}/wrong"))


def test_a_page_of_a_list_stays_when_the_language_changes(site: Site) -> None:
    for number in range(11):
        site.publish(reference=f"r{number}", notify=False)
    assert 'href="?page=2&locale=nn"' in text(site.client.get(f"{ROOM}?page=2"))


def test_a_chosen_language_goes_along(site: Site) -> None:
    one = site.publish(notify=False)
    page = text(site.client.get(f"{ROOM}?locale=nn"))
    assert f'href="{ROOM}{one}?locale=nn"' in page
    assert f'href="{ROOM}privacy?locale=nn"' in page
    assert f'rel="canonical" href="{site.settings.base_url}{ROOM}"' in page
    assert f'href="{ROOM}{one}"' in text(site.client.get(ROOM))


def test_the_switch_after_a_mistake_leads_back_to_the_page(site: Site) -> None:
    assert 'href="?locale=nn"' in text(site.client.post(FOLLOW, data={"address": "kari"}))
    answer = site.client.get(f"{FOLLOW}?locale=nn")
    assert answer.headers["Location"] == f"{ROOM}?locale=nn"


def test_a_release_keeps_its_own_language(site: Site) -> None:
    one = site.publish(notify=False, language="en", title="The ship is home")
    page = text(site.client.get(f"{ROOM}{one}?locale=nn"))
    assert '<html lang="nn"' in page
    assert '<h1><span lang="en">The ship is home</span></h1>' in page
