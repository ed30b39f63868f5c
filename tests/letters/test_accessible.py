"""No rule of axe is broken by any letter, in any language, light or dark."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from mailer.mail.locales import available
from tests.axe import barriers
from tests.letters.browsing import VIEWS, View, looking
from tests.letters.exhibits import Exhibit, exhibits

# A letter is no page of its own: the mail client around it has the landmarks.
OF_PAGES = ["landmark-one-main", "region"]


@pytest.fixture(scope="module", params=VIEWS, ids=lambda view: view.name)
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that is looked at in one of the ways."""
    view: View = request.param
    with looking(browser, view) as page:
        yield page


@pytest.mark.parametrize("locale", available())
@pytest.mark.parametrize("exhibit", exhibits(), ids=lambda exhibit: exhibit.name)
def test_nobody_is_kept_from_reading_a_letter(page: Page, exhibit: Exhibit, locale: str) -> None:
    page.set_content(exhibit.html(locale), wait_until="load")
    assert barriers(page, without=OF_PAGES) == []


@pytest.mark.parametrize("locale", available())
@pytest.mark.parametrize("exhibit", exhibits(), ids=lambda exhibit: exhibit.name)
def test_nothing_is_wider_than_the_screen(page: Page, exhibit: Exhibit, locale: str) -> None:
    page.set_content(exhibit.html(locale), wait_until="load")
    assert page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def test_a_wide_table_scrolls_by_itself(browser: Browser) -> None:
    [everything] = [one for one in exhibits() if one.name == "release-everything"]
    with looking(browser, View("narrow", width=320)) as page:
        page.set_content(everything.html("nb"), wait_until="load")
        scrolls = "table => table.parentElement.scrollWidth > table.parentElement.clientWidth"
        assert page.get_by_role("table", name="Avganger").evaluate(scrolls)


def test_axe_is_not_asleep(browser: Browser) -> None:
    with looking(browser, VIEWS[0]) as page:
        page.set_content("<html lang=en><title>A</title><img src=https://a.example/a.jpg></html>")
        assert any(found.startswith("image-alt") for found in barriers(page))
