"""A visitor's browser without a screen: it follows links, and fills in and sends forms."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlencode, urljoin

from mailer.demo.telling import StepFailed

_SECONDS = 30
_WITHOUT_VALUE = {"checkbox", "radio", "submit", "image", "button", "file", "reset"}
_NOT_READ = {"style", "script", "title", "template"}


@dataclass
class Form:
    """A form as the page offers it."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class Reading(HTMLParser):
    """What a page or a letter holds: its text, links, pictures and forms."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.forms: list[Form] = []
        self._words: list[str] = []
        self._unread = 0
        self._select: str | None = None
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        """The words of the page, with single spaces."""
        return one_line("".join(self._words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what can be followed, seen or filled in."""
        given = {name: value or "" for name, value in attrs}
        self._unread += tag in _NOT_READ
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag == "img":
            self.pictures.append(given.get("src", ""))
        elif tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get").lower()))
        elif self.forms and tag in ("input", "textarea", "select", "option"):
            self._field(tag, given)

    def handle_endtag(self, tag: str) -> None:
        """Leave what is not read aloud."""
        self._unread -= tag in _NOT_READ

    def handle_data(self, data: str) -> None:
        """Collect the words."""
        if not self._unread:
            self._words.append(data)

    def _field(self, tag: str, given: dict[str, str]) -> None:
        fields, name = self.forms[-1].fields, given.get("name", "")
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            if "selected" in given or self._select not in fields:
                fields[self._select] = given.get("value", "")
        elif name and (given.get("type") not in _WITHOUT_VALUE or "checked" in given):
            fields[name] = given.get("value", "")


@dataclass(frozen=True)
class Answer:
    """What a server answered, after any redirects."""

    url: str
    status: int
    body: str

    @cached_property
    def reading(self) -> Reading:
        """The page, read."""
        return Reading(self.body)

    def json(self, *path: str) -> Any:
        """Return what the body holds as JSON, at a path of names; raises StepFailed."""
        try:
            value = json.loads(self.body)
            for name in path:
                value = value[name]
        except (ValueError, LookupError, TypeError):
            raise StepFailed(
                f"{self.url} answered without {'.'.join(path) or 'JSON'}: {self.body[:300]}"
            ) from None
        return value

    def expect(self, status: int, what: str) -> Answer:
        """Return itself, or raise StepFailed if the status is another."""
        if self.status != status:
            raise StepFailed(
                f"{what}: {self.url} answered {self.status} instead of {status}: "
                f"{self.reading.text[:300]}"
            )
        return self


class Browser:
    """One visitor, with cookies and without a screen."""

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(CookieJar()),
            urllib.request.ProxyHandler({}),  # everything is on this machine
        )

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Follow a link."""
        return self.send("GET", url, None, headers or {})

    def submit(self, page: Answer, form: Form, **filled: str) -> Answer:
        """Send a form, filling in the fields it has."""
        known = {name: value for name, value in filled.items() if name in form.fields}
        fields = form.fields | known
        return self.post(urljoin(page.url, form.action), fields)

    def post(self, url: str, fields: Mapping[str, str]) -> Answer:
        """Send fields as a form does."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.send("POST", url, urlencode(fields).encode(), kind)

    def send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send any request, and return the answer whatever its status.

        Raises StepFailed where nobody answers.
        """
        if not url.startswith("http://"):
            raise StepFailed(f"A link leads to {url!r}, which is not on this machine.")
        request = urllib.request.Request(  # noqa: S310 - http, as was just seen
            url, body, dict(headers), method=method
        )
        try:
            with self._opener.open(request, timeout=_SECONDS) as answer:
                return Answer(answer.url, answer.status, answer.read().decode(errors="replace"))
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Answer(url, refusal.code, refusal.read().decode(errors="replace"))
        except (OSError, http.client.HTTPException) as silence:
            raise StepFailed(f"{url} does not answer: {silence}.") from None


def one_line(text: str) -> str:
    """Return text with every run of white space as one space."""
    return " ".join(text.split())
