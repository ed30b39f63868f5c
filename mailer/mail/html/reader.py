"""Reads cleaned HTML for those who judge it: its text, its links and its pictures."""

from __future__ import annotations

from dataclasses import dataclass

from mailer.mail.html.parser import Parser

_INLINE = frozenset({"a", "b", "em", "i", "span", "strong", "sub", "sup"})


@dataclass(frozen=True, slots=True)
class ReadBody:
    """The HTML of a release as it is kept, and what can be read in it."""

    html: str
    text: str
    links: list[tuple[str, str]]
    """Each with the text that one clicks on."""
    pictures: list[tuple[str, str]]
    """Each with its alternative text."""


def read(html: str) -> ReadBody:
    """Read cleaned HTML."""
    reader = _BodyReader()
    reader.feed(html)
    reader.close()
    return ReadBody(html, "".join(reader.pieces), reader.links, reader.pictures)


class _BodyReader(Parser):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.pictures: list[tuple[str, str]] = []
        self._link: str | None = None
        self._label: list[str] = []

    def handle_data(self, data: str) -> None:
        """Gather text, and the label of an open link."""
        self.pieces.append(data)
        self._label.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a link, or note a picture; a picture with a description is a label too."""
        attributes = {name: value or "" for name, value in attrs}
        if tag == "a":
            self._link, self._label = attributes.get("href", ""), []
        elif tag == "img":
            self.pictures.append((attributes.get("src", ""), attributes.get("alt", "")))
            self._label.append(attributes.get("alt", ""))
        if tag not in _INLINE:
            self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """Close a link."""
        if tag == "a" and self._link is not None:
            self.links.append((self._link, "".join(self._label)))
            self._link = None
        if tag not in _INLINE:
            self.pieces.append(" ")
