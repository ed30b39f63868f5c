"""Every message has a translation, every translation a message, and dates are local."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.plurals import get_plural
from babel.messages.pofile import read_po

import mailer
from mailer.config import TEMPLATES
from mailer.mail.locales import available, best, direction, long_date, own_name, translations

PACKAGE = Path(mailer.__file__).parent
TEXTS = sorted(path for path in TEMPLATES.rglob("*.*") if path.suffix in (".html", ".txt"))
NAMES = {"X", "LinkedIn", "Facebook"}
TRANSLATED = [locale for locale in available() if locale != "en"]


class Said(HTMLParser):
    """What a page says to whoever sees it or has it read out."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        get_locale = ("alt", "title", "placeholder", "aria-label", "aria-roledescription")
        self.texts += [unescape(value or "") for name, value in attrs if name in get_locale]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


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


def test_the_english_catalogue_lists_every_message() -> None:
    """It is the page that a translator copies."""
    assert used() - set(messages("en")) == set()


@pytest.mark.parametrize("locale", available())
def test_no_translation_is_left_over(locale: str) -> None:
    assert set(messages(locale)) - used() == set()
    assert list(catalogue(locale).obsolete) == []


@pytest.mark.parametrize("locale", TRANSLATED)
def test_translations_name_the_same_things(locale: str) -> None:
    for message, translation in messages(locale).items():
        names = re.findall(r"%\((\w+)\)s", message)
        for form in translation:
            assert set(re.findall(r"%\((\w+)\)s", form)) == set(names)
            # A stray per cent sign would fail only when the letter is written.
            assert "%" not in form % dict.fromkeys(names, "")


@pytest.mark.parametrize("locale", available())
def test_a_catalogue_has_the_plurals_of_its_language(locale: str) -> None:
    read, language = catalogue(locale), get_plural(locale)
    assert (read.num_plurals, str(read.locale)) == (language.num_plurals, locale)
    for message in read:
        if message.id and message.pluralizable:
            assert len(message.string or ()) == language.num_plurals


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_no_template_says_anything_outside_the_catalogues(path: Path) -> None:
    """What is left of a template without its tags are the names that no language changes."""
    source = re.sub(r"\{%-?\s*trans\b.*?endtrans\s*-?%\}", "", path.read_text(), flags=re.DOTALL)
    source = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", source, flags=re.DOTALL)
    said = Said(source).texts if path.suffix == ".html" else source.split("\n")
    words = {text.strip() for text in said if any(map(str.isalpha, text))}
    assert words - NAMES == set()


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
    [
        ("nb", "13.\xa0november\xa02025"),
        ("nn", "13.\xa0november\xa02025"),
        ("en", "13\xa0November\xa02025"),
    ],
)
def test_dates_are_written_in_full(locale: str, written: str) -> None:
    assert long_date(datetime(2025, 11, 13, 8, tzinfo=UTC), locale) == written


@pytest.mark.parametrize(
    ("language", "written"),
    [("ar", "rtl"), ("nb-NO", "ltr"), ("zh-Hant-TW", "ltr"), ("xx", "auto")],
)
def test_languages_know_their_direction(language: str, written: str) -> None:
    assert direction(language) == written


@pytest.mark.parametrize(
    ("locale", "name"),
    [("nb", "Norsk bokmål"), ("nn", "Norsk nynorsk"), ("en", "English"), ("de", "Deutsch")],
)
def test_a_language_is_called_what_its_speakers_call_it(locale: str, name: str) -> None:
    assert own_name(locale) == name
