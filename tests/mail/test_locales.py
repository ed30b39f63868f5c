"""Every message has a translation, every translation a message, and dates are local."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import mailer
from mailer.config import TEMPLATES
from mailer.mail.locales import available, best, direction, long_date, translations

PACKAGE = Path(mailer.__file__).parent
TRANSLATED = [locale for locale in available() if locale != "en"]


def used() -> set[str]:
    """Return every message that the templates and the code ask for."""
    jinja = [(f"**.{suffix}", "jinja2.ext:babel_extract") for suffix in ("html", "txt", "atom")]
    options = {"**": {"trimmed": "true", "silent": "false", "encoding": "utf-8"}}
    found = [
        *extract_from_dir(TEMPLATES, method_map=jinja, options_map=options),
        *extract_from_dir(PACKAGE, method_map=[("**.py", "python")]),
    ]
    return {_one(message) for _, _, message, _, _ in found}


def catalogue(locale: str) -> Catalog:
    with (TEMPLATES / "locales" / f"{locale}.po").open("rb") as file:
        return read_po(file, locale=locale, abort_invalid=True)


def messages(locale: str) -> dict[str, list[str]]:
    """Return the translations of a catalogue, one or each plural form, by the message."""
    found: dict[str, list[str]] = {}
    for message in catalogue(locale):
        if message.id:
            translation = message.string or ""
            forms = [translation] if isinstance(translation, str) else list(translation)
            found[_one(message.id)] = forms
    return found


def _one(message: str | Sequence[str]) -> str:
    return message if isinstance(message, str) else message[0]


def test_the_first_locales_are_there() -> None:
    assert {"nb", "nn", "en"} <= set(available())


@pytest.mark.parametrize("locale", TRANSLATED)
def test_every_message_is_translated(locale: str) -> None:
    known = messages(locale)
    missing = {m for m in used() if not all(known.get(m, [""]))}
    assert missing == set()


@pytest.mark.parametrize("locale", TRANSLATED)
def test_no_translation_is_left_over(locale: str) -> None:
    assert set(messages(locale)) - used() == set()


@pytest.mark.parametrize("locale", TRANSLATED)
def test_translations_name_the_same_things(locale: str) -> None:
    for message, translation in messages(locale).items():
        for form in translation:
            assert set(re.findall(r"%\(\w+\)s", form)) == set(re.findall(r"%\(\w+\)s", message))


@pytest.mark.parametrize("locale", available())
def test_no_catalogue_is_waiting_for_a_second_look(locale: str) -> None:
    assert [message.id for message in catalogue(locale) if message.id and message.fuzzy] == []


def test_english_is_itself_and_norwegian_is_not() -> None:
    assert translations("en").gettext("Unsubscribe") == "Unsubscribe"
    assert translations("nb").gettext("Unsubscribe") == "Meld deg av"


@pytest.mark.parametrize(
    ("wish", "default", "found"),
    [
        ("nn", "nb", "nn"),
        ("nb-NO", "en", "nb"),
        ("NN_no", "en", "nn"),
        ("no", "en", "nb"),
        ("fr", "nn", "nn"),
        (None, "nb", "nb"),
        ("", "", "en"),
        ("fr", "de", "en"),
        ("../../etc/passwd", "nb", "nb"),
    ],
)
def test_the_best_locale_is_near_the_wish(wish: str | None, default: str, found: str) -> None:
    assert best(wish, default) == found


@pytest.mark.parametrize(
    ("locale", "written"),
    [("nb", "13. november 2025"), ("nn", "13. november 2025"), ("en", "13 November 2025")],
)
def test_dates_are_written_in_full(locale: str, written: str) -> None:
    assert long_date(datetime(2025, 11, 13, 8, tzinfo=UTC), locale) == written


@pytest.mark.parametrize(
    ("language", "written"),
    [("ar", "rtl"), ("nb-NO", "ltr"), ("zh-Hant-TW", "ltr"), ("xx", "auto")],
)
def test_languages_know_their_direction(language: str, written: str) -> None:
    assert direction(language) == written
