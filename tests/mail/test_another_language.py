"""Another language is one catalogue and nothing else: here one that nobody speaks, in Polish."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import write_po

from mailer.config import TEMPLATES
from mailer.mail.content import PressRoom, Story
from mailer.mail.letters import Letters
from mailer.mail.locales import available, best, long_date, translations
from tests.mail.conftest import COMMANDS, KINDS, LINKS, NOTE, VALUES, parse, part, write
from tests.mail.test_letters import Page
from tests.mail.test_locales import NAMES, messages

OTHER = "pl"
RIGHT_TO_LEFT = "ar"


def add_language(templates: Path, locale: str) -> None:
    """Write the one file that a translator writes: every message, between brackets."""
    catalogue = Catalog(locale)
    for message in messages("en"):
        catalogue.add(message, f"⟦{message}⟧")
    days = [f"⟦%(num)s {form}⟧" for form in ("dzień", "dni", "dnia")]
    if catalogue.num_plurals == len(days):
        catalogue.add(("%(num)s day", "%(num)s days"), days)
    with (templates / "locales" / f"{locale}.po").open("wb") as file:
        write_po(file, catalogue)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own templates, with two catalogues more."""
    folder = tmp_path_factory.mktemp("templates")
    shutil.copytree(TEMPLATES, folder, dirs_exist_ok=True)
    for locale in (OTHER, RIGHT_TO_LEFT):
        add_language(folder, locale)
    return folder


@pytest.fixture(scope="module")
def writer(templates: Path) -> Letters:
    return Letters(templates, LINKS)


def unspoken(text: str, given: Iterable[str]) -> set[str]:
    """Return the words of a letter that come from no catalogue and were not given to it."""
    text = re.sub(r"⟦[^⟧]*⟧", " ", " ".join(text.split()))
    text = re.sub(r"(https?|mailto):\S+", " ", text)
    for one in sorted(given, key=len, reverse=True):
        text = text.replace(" ".join(one.split()), " ")
    return {word.strip(".,:;") for word in text.split() if any(map(str.isalpha, word))}


@pytest.mark.parametrize("locale", [OTHER, RIGHT_TO_LEFT])
@pytest.mark.parametrize("kind", KINDS)
def test_every_letter_speaks_it_and_nothing_else(
    writer: Letters, press_room: PressRoom, story: Story, kind: str, locale: str
) -> None:
    message = parse(write(writer, kind, press_room, story, locale).fill(VALUES))
    text, html = part(message, "plain"), part(message, "html")
    assert {story.language, locale} >= set(message["Content-Language"].split(", "))
    given = {*data(press_room, story), *NAMES, long_date(story.published_at, locale)}
    given |= {long_date(one.published_at, locale) for one in story.latest} | COMMANDS
    assert unspoken(text, given) == set()
    assert unspoken(Page(html).text, given) == set()
    assert unspoken(message["Subject"], given) == set()
    assert "⟦" in text
    assert "⟦" in html


def data(press_room: PressRoom, story: Story) -> set[str]:
    """List what a letter was given to say."""
    assert story.image
    assert story.source
    optional = [story.lead, story.image.alt, story.image.caption, story.image.credit, NOTE]
    for contact in story.contacts:
        optional += [contact.name, contact.title, contact.email]
    said = [press_room.name, story.title, story.source.text, *story.keywords]
    said += [one.title for one in story.documents] + [one.title for one in story.latest]
    said += re.findall(r"[^<>]+", re.sub(r"<[^>]*>", "<>", story.body_html))
    return {*said, *filter(None, optional)}


def test_the_story_keeps_its_language_and_the_frame_has_the_readers(
    writer: Letters, press_room: PressRoom, story: Story
) -> None:
    html = part(parse(writer.release(press_room, story, OTHER).fill(VALUES)), "html")
    assert re.search(rf'<html[^>]* lang="{OTHER}"', html)
    assert re.search(rf'lang="{story.language}"[^>]*>\s*<h1', html)
    assert "17&nbsp;maja&nbsp;2025" in html


def test_a_frame_from_right_to_left_turns_round(
    writer: Letters, press_room: PressRoom, story: Story
) -> None:
    html = part(parse(writer.release(press_room, story, RIGHT_TO_LEFT).fill(VALUES)), "html")
    assert re.search(r'<html[^>]* dir="rtl"', html)
    assert re.search(r'dir="ltr"[^>]*>\s*<h1', html)


@pytest.mark.parametrize(
    ("number", "written"),
    [(1, "⟦%(num)s dzień⟧"), (2, "⟦%(num)s dni⟧"), (5, "⟦%(num)s dnia⟧"), (22, "⟦%(num)s dni⟧")],
)
def test_its_plurals_are_its_own(templates: Path, number: int, written: str) -> None:
    get_locale = translations(OTHER, templates / "locales")
    assert get_locale.ngettext("%(num)s day", "%(num)s days", number) == written


def test_it_is_found_where_its_catalogue_is_and_nowhere_else(templates: Path) -> None:
    folder = templates / "locales"
    assert set(available(folder)) - set(available()) == {OTHER, RIGHT_TO_LEFT}
    assert best("pl-PL", "nb", folder) == OTHER
    assert best("pl-PL", "nb") == "nb"


def test_a_message_that_it_lacks_stays_english(
    templates: Path, press_room: PressRoom, tmp_path: Path
) -> None:
    shutil.copytree(templates, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "locales" / f"{OTHER}.po").open("wb") as file:
        write_po(file, Catalog(OTHER))
    text = part(
        parse(Letters(tmp_path, LINKS).confirm(press_room, OTHER).fill(VALUES)),
        "plain",
    )
    assert "The link works for 48 hours." in text
