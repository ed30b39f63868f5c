"""A visitor with a browser of plain HTTP and a mailbox, and what is found in letters."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.message import EmailMessage
from html.parser import HTMLParser

from tests.relay import Relay


@dataclass(frozen=True)
class Page:
    """What came back: the status, the address and the HTML."""

    status: int
    url: str
    html: str

    def form(self, **typed: str) -> tuple[str, dict[str, str]]:
        """Fill in the page's first form; returns where it goes, and all its fields."""
        finder = _Form()
        finder.feed(self.html)
        return urllib.parse.urljoin(self.url, finder.action), finder.fields | typed


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self._forms = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where a form goes, and what a browser would send along."""
        given = dict(attrs)
        if tag == "form":
            self._forms += 1
            self.action = self.action or given.get("action") or ""
        if self._forms > 1:
            return
        if tag in ("input", "button") and given.get("name"):
            self.fields[str(given["name"])] = given.get("value") or ""


class Visitor:
    """Somebody with an address, who follows links and presses buttons."""

    def __init__(self, relay: Relay, address: str) -> None:
        self._relay = relay
        self.address = address

    def at_new_address(self) -> Visitor:
        """The same person with another mailbox."""
        return Visitor(self._relay, f"new.{self.address}")

    def get(self, url: str) -> Page:
        """Open a page."""
        return _open(urllib.request.Request(url))

    def press(self, page: Page, **typed: str) -> Page:
        """Fill in the page's form and send it."""
        action, fields = page.form(**typed)
        return self.post(action, fields)

    def post(self, url: str, fields: dict[str, str]) -> Page:
        """Send form fields somewhere."""
        return _open(urllib.request.Request(url, urllib.parse.urlencode(fields).encode()))

    def letters(self, count: int) -> list[EmailMessage]:
        """Wait until so many letters have come, and return them, oldest first."""
        return self._relay.wait_for(count=count, to=self.address)

    def follow(self, press_room: str) -> EmailMessage:
        """Sign up on a press room's page, and confirm by mail; returns the welcome letter."""
        self.press(self.get(press_room), address=self.address)
        [question] = self.letters(1)
        self.press(self.get(link(question, "/confirm/")))
        return self.letters(2)[1]


def link(letter: EmailMessage, path: str) -> str:
    """Find the link with that path in the plain text of a letter."""
    body = letter.get_body(("plain",))
    assert body is not None
    found = re.search(rf"https?://\S*{re.escape(path)}[^\s>)\]]+", body.get_content())
    assert found, body.get_content()
    return found[0]


def one_click(letter: EmailMessage) -> str:
    """Find where a mail client posts to (RFC 8058)."""
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    return _ways_out(letter)[0]


def mailto(letter: EmailMessage) -> str:
    """Find where a mail client writes to that knows no one-click (RFC 2369, 3.2)."""
    url = urllib.parse.urlsplit(_ways_out(letter)[1])
    assert (url.scheme, url.query) == ("mailto", "subject=unsubscribe")
    return url.path


def _ways_out(letter: EmailMessage) -> list[str]:
    return re.findall("<([^>]+)>", str(letter["List-Unsubscribe"]))


def _open(request: urllib.request.Request) -> Page:
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Page(answer.status, answer.url, answer.read().decode())
    except urllib.error.HTTPError as refusal:
        return Page(refusal.code, request.full_url, refusal.read().decode())
