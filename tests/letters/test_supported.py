"""Gmail, Apple Mail and Outlook for Windows show what a letter is made of, or lose nothing by it.

By the data of caniemail.com, in which the features that every client has are not listed at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from mailer.mail.locales import available
from tests.letters.exhibits import exhibits
from tests.node import NODE

DATA = json.loads((NODE / "node_modules" / "caniemail" / "data" / "caniemail.json").read_text())
FEATURES: dict[str, dict[str, Any]] = {one["slug"]: one for one in DATA["data"]}
CLIENTS = {"gmail": None, "apple-mail": None, "outlook": {"windows"}}

HARMLESS = {
    "css-at-media": "who does not know it reads the letter as on a wide screen, which fits too",
    "css-at-media-prefers-color-scheme": "the letter stays light, or the client darkens it itself",
    "css-border-radius": "the button has corners",
    "css-display-none": "the preheader has no height either, and mso-hide for Outlook",
    "css-max-height": "Outlook takes the height of the logo from its attribute",
    "css-overflow": "Outlook wraps the words of a table that is too wide",
    "css-overflow-wrap": "the older word-wrap says the same",
    "css-table-layout": "Outlook has a table of 600 pixels around the letter",
    "css-white-space": "an option of a command may break at its hyphens",
    "css-word-wrap": "Outlook breaks no word, and its windows are wide",
    "html-meta-color-scheme": "as for prefers-color-scheme",
    "html-semantics": "a figure without a meaning is a division",
    "html-style": "only what is for narrow or dark screens is lost",
}
"""What one of the clients ignores, and why nothing is lost by it."""

OLD = {
    *("html", "head", "title", "meta", "a", "br", "em", "sub", "sup"),
    *("href", "src", "alt", "name", "content", "charset", "class", "bgcolor"),
    *("scope", "tabindex", "aria-roledescription", "color", "mso-hide", "mso-padding-alt"),
    "-webkit-text-size-adjust",
}
"""What caniemail does not list: older than any client, or a word to one client alone."""

_FAMILIES = {
    **dict.fromkeys(("h1", "h2", "h3", "h4"), "h1-h6"),
    **dict.fromkeys(("ul", "ol", "li"), "lists"),
    **dict.fromkeys(("tbody", "thead", "tr", "td", "th", "caption"), "table"),
    **dict.fromkeys(("figure", "figcaption"), "semantics"),
}
_DECLARATION = re.compile(r"(?<![\w-])([a-z-]+):\s*([^;{}]+)")


class Anatomy(HTMLParser):
    """Collects the elements, attributes and declarations that a letter is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self._styles = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._styles = tag == "style"
        self.found.add(_listed("html", _FAMILIES.get(tag, tag)))
        for name, value in attrs:
            self.found.add(_listed("html", name))
            if name == "style":
                self._declare(value or "")
            if value == "color-scheme":
                self.found.add("html-meta-color-scheme")

    def handle_data(self, data: str) -> None:
        if self._styles:
            self.found |= {f"css-at-{rule}" for rule in re.findall(r"@(media)", data)}
            if "prefers-color-scheme" in data:
                self.found.add("css-at-media-prefers-color-scheme")
            self._declare(re.sub(r"@media[^{]*\{", "", data))
            self._styles = False

    def _declare(self, text: str) -> None:
        for name, value in _DECLARATION.findall(text):
            self.found.add(_listed("css", name))
            self.found |= {f"css-unit-{unit}" for unit in re.findall(r"\d(px|em|rem|vw)\b", value)}
            if "%" in value:
                self.found.add("css-unit-percent")
            if "!important" in value:
                self.found.add("css-important")
            if (name, value.strip()) == ("display", "none"):
                self.found.add("css-display-none")


def _listed(category: str, name: str) -> str:
    """Name the feature as caniemail does: itself, or the shorthand that it is a part of."""
    logical = re.search(r"-(inline|block)\b", name)
    beginnings = [name] if logical or name in OLD else list(_beginnings(name))
    return next(
        (f"{category}-{one}" for one in beginnings if f"{category}-{one}" in FEATURES), name
    )


def _beginnings(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition("-")[0]


def used() -> set[str]:
    """Return the features of all letters together."""
    anatomy = Anatomy()
    for exhibit in exhibits():
        for locale in available():
            anatomy.feed(exhibit.html(locale))
    return anatomy.found


def ignored(feature: str) -> list[str]:
    """Return the clients whose newest version ignores a feature."""
    return [
        f"{family} {platform}"
        for family, platforms in CLIENTS.items()
        for platform, versions in FEATURES[feature]["stats"][family].items()
        if (platforms is None or platform in platforms)
        and list(versions.values())[-1][0] not in "ya"
    ]


def test_every_client_shows_what_is_used_or_loses_nothing() -> None:
    listed = used() & set(FEATURES)
    assert {"css-padding", "css-font", "html-table", "html-img", "css-important"} <= listed
    lost = {feature: clients for feature in sorted(listed) if (clients := ignored(feature))}
    assert {feature: lost[feature] for feature in lost.keys() - HARMLESS.keys()} == {}
    assert set(HARMLESS) <= set(lost), "what is no longer ignored needs no excuse"


def test_what_is_not_listed_is_old() -> None:
    assert used() - set(FEATURES) == OLD


def test_nothing_stands_at_the_start_or_the_end_of_a_line() -> None:
    """Outlook knows left and right alone, and would leave everything in the middle."""
    for exhibit in exhibits():
        assert not re.search(r"text-align:\s*(start|end)", exhibit.html("nb"))
