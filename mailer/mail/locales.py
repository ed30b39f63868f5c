"""Locales: each has a catalogue, templates/locales/<locale>.po, translated from English."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from gettext import GNUTranslations
from io import BytesIO
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.units import format_unit

from mailer.config import TEMPLATES

SOURCE = "en"
CATALOGUES = TEMPLATES / "locales"
NO_BREAK = "\N{NO-BREAK SPACE}"
_ALIASES = {"no": "nb"}
# Babel's "en" is American, and puts the month first.
_CONVENTIONS = {"en": "en_GB"}
_DAYS_OF_A_YEAR = 365
# Of a date and a time, and of the time; Babel's are as a table has them, not a sentence.
_TIMES = {
    "nb": ("{date} kl.\N{NO-BREAK SPACE}{time}", "HH.mm"),
    "nn": ("{date} kl.\N{NO-BREAK SPACE}{time}", "HH.mm"),
    "en": ("{date} at {time}", "HH:mm"),
}


@cache
def available(folder: Path = CATALOGUES) -> tuple[str, ...]:
    """Return the locales that have a catalogue, sorted; adding a file adds a locale."""
    return tuple(sorted(path.stem for path in folder.glob("*.po")))


@cache
def translations(locale: str, folder: Path = CATALOGUES) -> GNUTranslations:
    """Return the translations of an available locale; untranslated messages stay English."""
    with (folder / f"{locale}.po").open("rb") as file:
        catalogue = read_po(file, locale=locale)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)


def best(locale: str | None, default: str, folder: Path = CATALOGUES) -> str:
    """Return the available locale nearest to one such as "nb-NO", or to the default, or "en"."""
    for tag in (locale or "", default):
        language, _, region = tag.replace("-", "_").lower().partition("_")
        language = _ALIASES.get(language, language)
        for candidate in (f"{language}_{region.upper()}", language):
            if candidate in available(folder):
                return candidate
    return SOURCE


def own_name(locale: str, *, in_sentence: bool = False) -> str:
    """Return the name of a locale in its own language, with a capital letter if it stands alone."""
    name = str(Locale.parse(locale).get_display_name())
    return name if in_sentence else name[:1].upper() + name[1:]


def direction(language: str) -> str:
    """Return "rtl" or "ltr" for a language tag (BCP 47), "auto" for one that Babel lacks."""
    try:
        return str(Locale.parse(language, sep="-").text_direction)
    except (ValueError, UnknownLocaleError):
        return "auto"


def long_time(moment: datetime, locale: str) -> str:
    """Format a moment with hours and minutes, in its own time zone."""
    both, pattern = _TIMES.get(locale, ("{date}, {time}", "short"))
    time = format_time(moment, format=pattern, locale=_CONVENTIONS.get(locale, locale))
    return both.format(date=long_date(moment, locale), time=time.replace(" ", NO_BREAK))


def long_duration(days: int, locale: str) -> str:
    """Format a number of days, in years if it is a number of years."""
    years = days // _DAYS_OF_A_YEAR if days % _DAYS_OF_A_YEAR == 0 else 0
    unit, number = ("duration-year", years) if years else ("duration-day", days)
    text = format_unit(number, unit, locale=_CONVENTIONS.get(locale, locale))
    return str(text).replace(" ", NO_BREAK)


def long_date(moment: datetime, locale: str) -> str:
    """Format the date of a moment, in its own time zone, in the locale's long form."""
    text = format_date(moment, format="long", locale=_CONVENTIONS.get(locale, locale))
    return str(text).replace(" ", NO_BREAK)
