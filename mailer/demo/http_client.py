"""HTTP requests with the standard library, and what an HTML page or letter consists of."""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin

from mailer.demo.console_output import StepFailed

_TIMEOUT_SECONDS = 30
# Everything is on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Html(HTMLParser):
    """The text, links, pictures and forms of an HTML document."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; the description of a picture is text, and its address a link."""
        given = {name: value or "" for name, value in attrs}
        if tag in ("a", "img"):
            self.links.append(given.get("href" if tag == "a" else "src", ""))
            self.text += given.get("alt", "")
        elif tag == "form" and given.get("method") == "post":
            self.forms.append((given.get("action", ""), {}))
        elif tag == "input" and self.forms:
            self.forms[-1][1][given.get("name", "")] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        """Note text, unless it is not shown."""
        if self.lasttag not in ("style", "title"):
            self.text += data


def request(url: str, data: bytes | None = None, headers: Mapping[str, str] | None = None) -> str:
    """GET an address, or POST data to it, and return the body; raises StepFailed for an error."""
    sent = urllib.request.Request(url, data, dict(headers or {}))  # noqa: S310 - links of the demo
    try:
        with _OPENER.open(sent, timeout=_TIMEOUT_SECONDS) as response:
            return str(response.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        raise StepFailed(f"{url} answered: {error}") from None


def submit(url: str, **filled: str) -> str:
    """Open a page, twice as scanners of links do, and send its form that has these fields."""
    request(url)
    for action, fields in Html(request(url)).forms:
        if filled.keys() <= fields.keys():
            return request(urljoin(url, action), urlencode(fields | filled).encode())
    raise StepFailed(f"{url} has no form to send, with the fields {list(filled)}.")
