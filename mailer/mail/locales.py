"""The languages we speak: one catalogue each, templates/locales/<locale>.po, English the source."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from gettext import GNUTranslations
from io import BytesIO
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from mailer.config import TEMPLATES

SOURCE = "en"
CATALOGUES = TEMPLATES / "locales"
_ALIASES = {"no": "nb"}
# Plain "en" would put the month first, as only Americans write it.
_CONVENTIONS = {"en": "en_GB"}


@cache
def available(folder: Path = CATALOGUES) -> tuple[str, ...]:
    """Return the locales that have a catalogue, sorted; adding a file adds a language."""
    return tuple(sorted(path.stem for path in folder.glob("*.po")))


@cache
def translations(locale: str, folder: Path = CATALOGUES) -> GNUTranslations:
    """Return the messages of an available locale; one without a translation stays English."""
    with (folder / f"{locale}.po").open("rb") as file:
        catalogue = read_po(file, locale=locale)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)


def best(locale: str | None, default: str, folder: Path = CATALOGUES) -> str:
    """Return the available locale nearest to a wish such as "nb-NO", else to the default."""
    for wish in (locale or "", default):
        language, _, region = wish.replace("-", "_").lower().partition("_")
        language = _ALIASES.get(language, language)
        for candidate in (f"{language}_{region.upper()}", language):
            if candidate in available(folder):
                return candidate
    return SOURCE


def own_name(locale: str) -> str:
    """Return what the speakers of a locale call it, as they would begin a line."""
    name = str(Locale.parse(locale).get_display_name())
    return name[:1].upper() + name[1:]


def direction(language: str) -> str:
    """Return "rtl" or "ltr" for a language tag (BCP 47), "auto" for one that nobody knows."""
    try:
        return str(Locale.parse(language, sep="-").text_direction)
    except (ValueError, UnknownLocaleError):
        return "auto"


def long_date(moment: datetime, locale: str) -> str:
    """Return the day of a moment, in its own time zone, as the locale writes it in full."""
    return format_date(moment, format="long", locale=_CONVENTIONS.get(locale, locale))
