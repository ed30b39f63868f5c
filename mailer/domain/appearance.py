"""What readers see of a press room: its name, web site, logo and colour, each checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

from mailer.domain.content import web_address
from mailer.errors import InvalidInput
from mailer.mail.colours import READABLE, WHITE, contrast, is_colour

Trait = Literal["name", "website_url", "logo_url", "accent"]
Traits = Mapping[Trait, str | None]

_NAME_LENGTH = 200
_ADDRESS_LENGTH = 2_000


def checked(traits: Traits) -> dict[Trait, str | None]:
    """Return what may be kept; raises InvalidInput with a sentence for each that may not."""
    kept: dict[Trait, str | None] = {}
    problems: dict[str, str] = {}
    for trait, value in traits.items():
        try:
            kept[trait] = _CHECKS[trait](value)
        except ValueError as problem:
            problems[trait.removesuffix("_url")] = str(problem)
    if problems:
        raise InvalidInput(problems)
    return kept


def _name(name: str | None) -> str:
    name = (name or "").strip()
    if not name or not name.isprintable() or len(name) > _NAME_LENGTH:
        raise ValueError("Give the press room a name, in one short line.")
    return name


def _website(url: str | None) -> str | None:
    """Refuse what leads elsewhere: it becomes a link in every letter."""
    if url is None:
        return None
    if len(web_address(url)) > _ADDRESS_LENGTH:
        raise ValueError("This address is too long.")
    return url


def _logo(url: str | None) -> str | None:
    """Refuse what mail clients would not load inside a letter that came over HTTPS."""
    if url is not None and not url.lower().startswith("https://"):
        raise ValueError("Give the full address of a picture, beginning with https://.")
    return _website(url)


def _accent(colour: str | None) -> str | None:
    if colour is None:
        return None
    colour = colour.strip().lower()
    if not is_colour(colour):
        raise ValueError("Write a colour as #0b5394: a hash sign and six hexadecimal digits.")
    # Rounded down, or 4.499 would seem to be enough.
    seen = math.floor(contrast(colour, WHITE) * 100) / 100
    if seen < READABLE:
        raise ValueError(
            f"{colour} is too light to be read on white: its contrast is {seen:.2f}, and text "
            f"needs {READABLE}. Choose a darker colour."
        )
    return colour


_CHECKS: dict[Trait, Callable[[str | None], str | None]] = {
    "name": _name,
    "website_url": _website,
    "logo_url": _logo,
    "accent": _accent,
}
