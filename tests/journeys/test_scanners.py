"""Link scanners: they open every link of every letter, some in a browser, and change nothing."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import unescape
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import Browser

from mailer.domain import publishers
from mailer.storage.models import Generation
from tests.journeys.people import Page, Visitor, link
from tests.processes import eventually
from tests.relay import Relay
from tests.service import Service, application
from tests.support.press_room import Rows, everything
from tests.support.publishing_system import PublishingSystem

WAYS = {"confirm", "manage", "unsubscribe", "one-click", "oya"}


@dataclass(frozen=True)
class Mail:
    """Everything that has been sent, and the service that it leads to."""

    service: Service
    links: tuple[str, ...]

    def rows(self) -> Rows:
        """Give everything in the database, but for the number that each sweep raises."""
        with application(self.service.environment):
            rows = everything()
        number = Generation.__table__.columns.keys().index("number")
        rows["generation"] = [(*row[:number], *row[number + 1 :]) for row in rows["generation"]]
        return rows

    def settled(self) -> Rows:
        """Wait until nothing is under way any more, and give everything in the database."""

        def settled() -> Rows | None:
            rows = self.rows()
            return rows if rows == self.rows() else None

        rows = eventually(settled, "nothing is under way")
        assert rows is not None
        return rows


@pytest.fixture(scope="module")
def mail(service: Service, relay_server: Relay) -> Mail:
    """Every kind of letter: questions, a welcome, a goodbye, a release in all its versions."""
    with application(service.environment):
        draft = publishers.PublisherDraft("oya", "Øya kommune", "presse@example.org", "nb")
        press_office = PublishingSystem(service.url, publishers.add(draft))
    room = f"{service.url}/oya/"
    kari, ola, ada = (Visitor(relay_server, f"{name}@example.org") for name in ("k", "o", "a"))
    kari.press(kari.get(room), address=kari.address)
    ola.follow(room)
    ada.press(ada.get(link(ada.follow(room), "/unsubscribe/")))
    first = press_office.publish("brygga")
    press_office.done(first)
    path = first["links"]["self"]
    body = {"language": "nb", "title": "Brygga er stengt", "body_html": "<p>Igjen.</p>"}
    better = press_office.call(f"{path}/correct", body | {"reference": "brygga"})
    press_office.done(better)
    press_office.done(press_office.call(f"{better['links']['self']}/retract", {"note": "Feil."}))
    for visitor, count in ((kari, 1), (ola, 5), (ada, 3)):
        visitor.letters(count)
    texts = [
        part.get_content()
        for received in relay_server.received
        for part in received.message.iter_parts()
    ]
    headers = [str(received.message["List-Unsubscribe"]) for received in relay_server.received]
    return Mail(service, tuple(sorted(set(_links([*texts, *headers], service.url)))))


def _links(texts: Iterable[str], origin: str) -> Iterator[str]:
    """Find whatever leads to the service in a text, a page or a header."""
    for text in texts:
        yield from re.findall(rf"{re.escape(origin)}/[^\s\"'<>)\]]+", unescape(text))


def _onward(page: Page) -> Iterator[str]:
    """Find where a page leads, its forms included, on the same host."""
    for address in re.findall(r'(?:href|src|action)="([^"]*)"', page.html):
        url = urljoin(page.url, unescape(address))
        if urlsplit(url)[:2] == urlsplit(page.url)[:2]:
            yield url.partition("#")[0]


def test_the_letters_lead_everywhere(mail: Mail) -> None:
    assert {urlsplit(one).path.split("/")[1] for one in mail.links} == WAYS


def test_who_looks_at_every_link_changes_nothing(mail: Mail, relay_server: Relay) -> None:
    before, letters = mail.settled(), len(relay_server.received)
    scanner, seen, ahead = Visitor(relay_server, ""), set(), set(mail.links)
    while ahead:
        url = ahead.pop()
        seen.add(url)
        page = scanner.get(url)
        assert page.status == 200, url
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as head:
            assert head.status == 200
        ahead |= set(_onward(page)) - seen
    assert len(seen) > len(mail.links)
    assert mail.settled() == before
    assert len(relay_server.received) == letters


def test_a_browser_that_opens_every_link_changes_nothing(mail: Mail, browser: Browser) -> None:
    before = mail.settled()
    with browser.new_context(java_script_enabled=True) as context:
        page = context.new_page()
        for url in mail.links:
            answer = page.goto(url, wait_until="networkidle")
            assert answer is not None
            assert answer.ok, url
    assert mail.settled() == before
