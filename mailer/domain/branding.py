"""Branding: what readers see of a press room (name, logo, colour, texts), and its checks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from mailer.domain.releases.release_body import Contact, sentences, unprintable, web_address
from mailer.errors import InvalidInput
from mailer.mail.colours import READABLE, WHITE, contrast, is_colour

BrandingField = Literal["name", "website_url", "logo_url", "accent", "about", "contacts", "privacy"]
Branding = Mapping[BrandingField, Any]
"""Values are strings; `contacts` is a list of objects as in a release. None clears a field."""

_NAME_LENGTH = 200
_ADDRESS_LENGTH = 2_000
_ABOUT_LENGTH = 2_000
_PRIVACY_LENGTH = 5_000
_CONTACTS = TypeAdapter(tuple[Contact, ...])
_MOST_CONTACTS = 20


def checked(branding: Branding) -> dict[BrandingField, Any]:
    """Return normalized values; raises InvalidInput with a sentence for each invalid field."""
    kept: dict[BrandingField, Any] = {}
    problems: dict[str, str] = {}
    for field, value in branding.items():
        try:
            kept[field] = _CHECKS[field](value)
        except ValueError as problem:
            problems[field.removesuffix("_url")] = str(problem)
    if problems:
        raise InvalidInput(problems)
    return kept


def _name(name: str | None) -> str:
    name = (name or "").strip()
    if not name or not name.isprintable() or len(name) > _NAME_LENGTH:
        raise ValueError("Give the press room a name, in one short line.")
    return name


def _website(url: str | None) -> str | None:
    """Refuse what is not a web address: the value becomes a link in every letter."""
    if url is None:
        return None
    if len(web_address(url)) > _ADDRESS_LENGTH:
        raise ValueError("This address is too long.")
    return url


def _logo(url: str | None) -> str | None:
    """Require https://: mail clients load no other pictures inside a page served over HTTPS."""
    if url is not None and not url.lower().startswith("https://"):
        raise ValueError("Give the full address of a picture, beginning with https://.")
    return _website(url)


def _accent(colour: str | None) -> str | None:
    if colour is None:
        return None
    colour = colour.strip().lower()
    if not is_colour(colour):
        raise ValueError("Write a colour as #0b5394: a hash sign and six hexadecimal digits.")
    # Rounded down: 4.499 must not be shown as 4.50, which would be enough.
    seen = math.floor(contrast(colour, WHITE) * 100) / 100
    if seen < READABLE:
        raise ValueError(
            f"{colour} is too light to be read on white: its contrast is {seen:.2f}, and text "
            f"needs {READABLE}. Choose a darker colour."
        )
    return colour


def _text(text: str | None, most: int) -> str | None:
    """Return plain text as paragraphs with an empty line between them, None if it is empty."""
    if text is None:
        return None
    paragraphs = re.split(r"\n\s*\n", re.sub(r"\r\n?", "\n", text).strip())
    text = "\n\n".join(paragraph.strip() for paragraph in paragraphs)
    if unprintable(text.replace("\n", " ").replace("\t", " ")) or len(text) > most:
        raise ValueError(f"Write at most {most} characters of plain text.")
    return text or None


def _contacts(contacts: Any) -> list[dict[str, Any]] | None:
    if contacts is None:
        return None
    try:
        kept = _CONTACTS.validate_python(contacts)
    except ValidationError as error:
        where, sentence = next(iter(sentences(error).items()))
        raise ValueError(f"{where}: {sentence}" if where else sentence) from None
    if len(kept) > _MOST_CONTACTS:
        raise ValueError(f"Name at most {_MOST_CONTACTS} people.")
    return [contact.model_dump(mode="json") for contact in kept] or None


_CHECKS: dict[BrandingField, Callable[[Any], Any]] = {
    "name": _name,
    "website_url": _website,
    "logo_url": _logo,
    "accent": _accent,
    "about": partial(_text, most=_ABOUT_LENGTH),
    "contacts": _contacts,
    "privacy": partial(_text, most=_PRIVACY_LENGTH),
}
