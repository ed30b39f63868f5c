"""The content of letters as plain values, which the domain and the fan-out make from rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar, cast

_Value = TypeVar("_Value")

_GAP = re.compile(r"[ \t\r\n\f\v\x85\u2028\u2029]+")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# Embeddings, overrides and isolates of bidirectional text: their effect ends with a paragraph,
# but in a line of text that is put between others they would reverse those, too.
_DIRECTION = re.compile(r"[\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class PressRoom:
    """The sender of a letter, and how its letters look.

    `list_id` is the identifier alone, such as `slug.example.org` (RFC 2919); `accent` is a colour
    such as `#0b5394`, dark enough to be read on white.
    """

    name: str
    from_address: str
    locale: str
    page_url: str
    website_url: str | None
    list_id: str
    logo_url: str | None = None
    accent: str | None = None


@dataclass(frozen=True, slots=True)
class PausedRelease:
    """A paused release as the notice to its press room names it, without anything from outside."""

    id: int
    because: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of a story; width and height in pixels."""

    url: str
    alt: str | None = None
    width: int | None = None
    height: int | None = None
    caption: str | None = None
    credit: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The place where the story was first published."""

    text: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """A press contact of a release."""

    name: str
    title: str | None = None
    email: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A file that belongs to the story; its size in octets."""

    title: str
    url: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Headline:
    """Another release of the same press room."""

    title: str
    url: str
    published_at: datetime
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """A release as its readers see it. `body_html` is sanitised already, and is not escaped.

    `image` stands above the text, and `images` follow it; `note` says what is different from the
    version before, or why it is retracted.
    """

    language: str
    title: str
    body_html: str
    published_at: datetime
    lead: str | None = None
    image: Image | None = None
    images: tuple[Image, ...] = ()
    source: Source | None = None
    keywords: tuple[str, ...] = ()
    contacts: tuple[Contact, ...] = ()
    documents: tuple[Document, ...] = ()
    web_url: str | None = None
    note: str | None = None
    latest: tuple[Headline, ...] = ()

    @property
    def pictures(self) -> tuple[Image, ...]:
        """Every picture, in the order in which the letter shows them."""
        return (self.image, *self.images) if self.image else self.images


@dataclass(frozen=True, slots=True)
class ReplacedVersion:
    """The version of a release that a correction or a retraction replaces.

    `number` counts versions from 1; `note` says what is corrected, or why it is retracted.
    """

    title: str
    published_at: datetime
    number: int
    note: str | None = None


CONFIRM_WITHIN = timedelta(hours=48)
ACCESS_WITHIN = timedelta(hours=24)
MOVE_WITHIN = timedelta(days=30)
"""How long a link works; the others always do."""
PERIODS = {
    "confirm_hours": CONFIRM_WITHIN // timedelta(hours=1),
    "access_hours": ACCESS_WITHIN // timedelta(hours=1),
    "move_days": MOVE_WITHIN.days,
}
"""The same for the texts, by the names that the templates have for them."""


@dataclass(frozen=True, slots=True)
class Links:
    """The beginnings of a letter's links, each ending in "/"; a recipient's token follows.

    `mailto` says whether followers can unsubscribe by mail, too.
    """

    confirm: str
    unsubscribe: str
    one_click: str
    manage: str
    your_data: str
    move: str
    mailto: bool = False

    @classmethod
    def under(cls, base_url: str, *, mailto: bool = False) -> Self:
        """Return the links of the service at `base_url`."""
        return cls(
            confirm=f"{base_url}/confirm/",
            unsubscribe=f"{base_url}/unsubscribe/",
            one_click=f"{base_url}/one-click/",
            manage=f"{base_url}/manage/",
            your_data=f"{base_url}/your-data/",
            move=f"{base_url}/move/",
            mailto=mailto,
        )


def cleaned(value: _Value) -> _Value:
    """Return a copy of a dataclass or tuple whose texts are one line, without control characters.

    `body_html` keeps its line breaks and its directional characters: it is made of paragraphs.
    """
    return cast(_Value, _clean(value, ""))


def _clean(value: Any, name: str) -> Any:
    if isinstance(value, str):
        if name == "body_html":
            return _CONTROL.sub("", value)
        return _DIRECTION.sub("", _CONTROL.sub("", _GAP.sub(" ", value))).strip(" ")
    if isinstance(value, tuple):
        return tuple(_clean(item, name) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(value, **{key: _clean(item, key) for key, item in changed.items()})
    return value
