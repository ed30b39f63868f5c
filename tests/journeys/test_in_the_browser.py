"""The whole story in a real Chromium: with scripts and without, wide and narrow, by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.journeys.people import Visitor, link
from tests.journeys.spectator import Manner, Spectator
from tests.validator import problems

MANNERS = [
    Manner(locale, width, javascript)
    for locale in ("nb", "en")
    for width in (1280, 320)
    for javascript in (True, False)
]


@pytest.fixture(params=MANNERS, ids=str)
def seen(
    request: pytest.FixtureRequest, browser: Browser, press_room: str, tmp_path: Path
) -> Iterator[Spectator]:
    """A browser that is used in one of the ways, and watched; its pages must be valid."""
    manner: Manner = request.param
    with Spectator.beside(browser, manner, press_room, tmp_path) as spectator:
        yield spectator
    if any(tmp_path.iterdir()):
        assert problems(tmp_path) == []


def test_follow_confirm_leave_and_come_back(
    seen: Spectator, kari: Visitor, press_room: str
) -> None:
    page = seen.page
    page.goto(press_room)
    seen.look("press-room")
    page.locator("input[name=address]").fill("kari@example")
    page.locator("form button").first.click()
    seen.look("press-room-mistake")
    page.locator("input[name=address]").fill("kari@gmial.com")
    page.locator("form button").first.click()
    seen.look("slip")
    page.go_back()
    page.locator("input[name=address]").fill(kari.address)
    page.locator("form button").first.click()
    seen.look("asked")
    page.goto(link(kari.letters(1)[0], "/confirm/"))
    seen.look("confirm")
    page.locator("main button").click()
    seen.look("following")
    page.goto(link(kari.letters(2)[1], "/unsubscribe/"))
    seen.look("unsubscribe")
    page.locator("main button").first.click()
    seen.look("goodbye")
    page.goto(link(kari.letters(2)[1], "/manage/"))
    seen.look("left")
    page.locator("main button[value=undo]").click()
    seen.look("again")


def follow(seen: Spectator, kari: Visitor, press_room: str) -> EmailMessage:
    """Sign up in the browser and confirm; returns the welcome letter."""
    page = seen.page
    page.goto(press_room)
    page.locator("input[name=address]").fill(kari.address)
    page.locator("form button").first.click()
    seen.look("asked")
    page.goto(link(kari.letters(1)[0], "/confirm/"))
    page.locator("main button").click()
    seen.look("following")
    return kari.letters(2)[1]


SOME_MANNERS = pytest.mark.parametrize(
    "seen",
    [Manner(), Manner("en", width=320), Manner("nb", javascript=False)],
    indirect=True,
    ids=str,
)


@SOME_MANNERS
def test_an_old_letter_leaves_after_coming_back(
    seen: Spectator, kari: Visitor, press_room: str
) -> None:
    page, welcome = seen.page, follow(seen, kari, press_room)
    page.goto(link(welcome, "/unsubscribe/"))
    page.locator("main button").first.click()
    seen.look("step-1")
    page.goto(press_room)
    page.locator("input[name=address]").fill(kari.address)
    page.locator("form button").first.click()
    seen.look("step-2")
    page.goto(link(kari.letters(4)[3], "/confirm/"))
    page.locator("main button").click()
    seen.look("following-again")
    page.goto(link(welcome, "/unsubscribe/"))
    page.locator("main button").first.click()
    seen.look("goodbye-by-an-old-letter")
    assert page.locator("main button[value=undo]").count() == 1, "it has ended"


@SOME_MANNERS
def test_who_follows_already_is_told_so_and_finds_every_link(
    seen: Spectator, kari: Visitor, press_room: str
) -> None:
    page = seen.page
    follow(seen, kari, press_room)
    page.goto(press_room)
    page.locator("input[name=address]").fill(kari.address)
    page.locator("form button").first.click()
    seen.look("step-3")
    told = kari.letters(3)[2]
    page.goto(link(told, "/manage/"))
    page.locator("button[name=pause]").first.click()
    seen.look("manage-paused")
    page.goto(link(told, "/unsubscribe/"))
    page.locator("main button").first.click()
    seen.look("goodbye-told")


@SOME_MANNERS
def test_a_slip_is_asked_about_and_mended_with_one_press(
    seen: Spectator, kari: Visitor, press_room: str
) -> None:
    page = seen.page
    page.goto(press_room)
    page.locator("input[name=address]").fill(kari.address.replace(".org", ",org"))
    page.locator("form button").first.click()
    seen.look("slip-comma")
    page.locator("main button").first.click()
    seen.look("asked-mended")
    assert link(kari.letters(1)[0], "/confirm/")


@SOME_MANNERS
def test_another_address_is_asked_and_has_the_way_back(
    seen: Spectator, kari: Visitor, press_room: str
) -> None:
    page, welcome = seen.page, follow(seen, kari, press_room)
    new = kari.at_new_address()
    page.goto(link(welcome, "/manage/"))
    seen.look("manage")
    page.locator("input[name=address]").fill(new.address)
    page.locator("form.follow button").click()
    seen.look("manage-asked")
    page.goto(link(new.letters(1)[0], "/move/"))
    seen.look("move")
    page.locator("main button").click()
    seen.look("moved")
    page.locator("main a").click()
    seen.look("manage-moved")
    page.goto(link(kari.letters(3)[2], "/move/"))
    seen.look("move-back")
    page.locator("main button").click()
    seen.look("moved-back")
    page.goto(link(welcome, "/unsubscribe/"))
    page.locator("main button").first.click()
    seen.look("step-4")
    assert kari.letters(4)[3]["To"] == kari.address, "the goodbye comes to who has moved back"


@SOME_MANNERS
def test_choose_see_what_is_known_and_be_forgotten(
    seen: Spectator, kari: Visitor, press_room: str
) -> None:
    page = seen.page
    page.goto(press_room)
    page.locator("input[name=address]").fill(kari.address)
    page.locator("form button").first.click()
    page.goto(link(kari.letters(1)[0], "/confirm/"))
    page.locator("main button").click()
    page.goto(link(kari.letters(2)[1], "/manage/"))
    seen.look("manage")
    page.locator("button[name=pause]").first.click()
    seen.look("manage-paused")
    page.locator("button[name=take-up]").click()
    page.locator(f"button[name=language][value={seen.manner.locale}]").click()
    seen.look("manage-language")
    page.locator("button[name=data]").click()
    seen.look("manage-asked")
    page.goto(link(kari.letters(3)[2], "/your-data/"))
    seen.look("your-data")
    with page.expect_download() as download:
        page.locator("button[value=download]").click()
    assert kari.address in Path(download.value.path()).read_text()
    page.locator("button[value=ask]").click()
    seen.look("your-data-asked")
    page.locator("button[value=erase]").click()
    seen.look("forgotten")


@pytest.mark.parametrize("seen", [Manner()], indirect=True, ids=str)
def test_the_keyboard_is_enough(seen: Spectator, kari: Visitor, press_room: str) -> None:
    page = seen.page
    page.goto(press_room)
    tab_to(page, "input[name=address]")
    page.keyboard.type(kari.address)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.goto(link(kari.letters(1)[0], "/confirm/"))
    press_by_keyboard(page)
    page.goto(link(kari.letters(2)[1], "/unsubscribe/"))
    press_by_keyboard(page)
    press_by_keyboard(page)
    seen.look("again-by-keyboard")


def press_by_keyboard(page: Page) -> None:
    """Go to the first button of a page, and press it."""
    tab_to(page, "main button >> nth=0")
    with page.expect_navigation():
        page.keyboard.press("Enter")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until something has the focus, and can be seen to have it."""
    wanted = page.locator(selector)
    for _ in range(page.locator("a, button, input").count() + 1):
        page.keyboard.press("Tab")
        if wanted.evaluate("one => one === document.activeElement"):
            assert wanted.evaluate("one => getComputedStyle(one).outlineStyle") != "none"
            return
    pytest.fail(f"no Tab leads to {selector}")
