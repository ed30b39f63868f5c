"""The follow box on somebody else's page, as its own page says to copy it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page

from tests.journeys.people import Visitor, link

FRAME = 480
"""The height of the frame that is offered to other pages, in pixels."""


@pytest.fixture(params=[True, False], ids=["scripts", "no-scripts"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a browser with scripts, or without; nothing may be said on its console."""
    said: list[str] = []
    with browser.new_context(locale="nb", java_script_enabled=request.param) as context:
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        yield page
    assert said == []


def test_in_a_frame_the_answer_stays_on_their_page(
    page: Page, kari: Visitor, press_room: str
) -> None:
    with newspaper(to_copy(page, press_room, "iframe")) as url:
        page.goto(url)
        frame = page.frame_locator("iframe")
        frame.locator("input[name=address]").fill(kari.address)
        frame.locator("button").first.click()
        frame.get_by_role("heading", name="Sjekk innboksen din").wait_for()
        question = kari.letters(1)[0]
        assert page.url == url
    kari.press(kari.get(link(question, "/confirm/")))
    assert "Øya kommune" in kari.letters(2)[1]["Subject"]


@pytest.mark.parametrize("locale", ["nb", "nn", "en"])
@pytest.mark.parametrize("width", [280, 400])
def test_every_answer_fits_the_frame(
    browser: Browser, kari: Visitor, press_room: str, width: int, locale: str
) -> None:
    with browser.new_context(viewport={"width": width, "height": FRAME}) as context:
        page = context.new_page()

        def send(typed: str) -> None:
            page.goto(f"{press_room}embed?locale={locale}")
            page.locator("input[name=address]").fill(typed)
            with page.expect_navigation():
                page.locator("form.follow button").click()

        page.goto(f"{press_room}embed?locale={locale}")
        tall = {"box": height(page)}
        for typed in ("kari", "a@example.org, b@example.org", "kari@gmial.com", "kari@gmail,com"):
            send(typed)
            tall[typed] = height(page)
        send(kari.address)
        tall["asked"] = height(page)
        with page.expect_navigation():
            page.locator("form.ask button").click()
        tall["asked again"] = height(page)
    assert {name: one for name, one in tall.items() if one > FRAME} == {}


def height(page: Page) -> int:
    """Return how many pixels a page needs."""
    return int(page.evaluate("document.documentElement.scrollHeight"))


def test_a_plain_form_leads_to_the_press_room(page: Page, kari: Visitor, press_room: str) -> None:
    with newspaper(to_copy(page, press_room, "form")) as url:
        page.goto(url)
        page.locator("input[name=address]").fill(kari.address)
        page.locator("button").click()
        page.wait_for_url(f"{press_room}follow")
    kari.press(kari.get(link(kari.letters(1)[0], "/confirm/")))
    assert "Øya kommune" in kari.letters(2)[1]["Subject"]


def test_no_other_page_may_be_framed(page: Page, press_room: str) -> None:
    assert (
        page.request.get(f"{press_room}embed")
        .headers["content-security-policy"]
        .endswith("frame-ancestors *; base-uri 'none'")
    )
    for path in ("", "privacy", "embed/code"):
        policy = page.request.get(press_room + path).headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy


def to_copy(page: Page, press_room: str, element: str) -> str:
    """Copy what the press room offers for other pages."""
    page.goto(f"{press_room}embed/code")
    offered = [one.input_value() for one in page.locator("textarea").all()]
    [found] = [text for text in offered if text.strip().startswith(f"<{element}")]
    return found


@contextmanager
def newspaper(snippet: str) -> Iterator[str]:
    """Publish a page of another origin with that in it; gives its address."""
    content = (
        '<!doctype html><html lang="nb"><link rel="icon" href="data:,"><title>Avisa</title>'
        f"<p>Avisa<p>{snippet}</html>"
    ).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the one page."""
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
