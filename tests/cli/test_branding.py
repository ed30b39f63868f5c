"""What an operator says about the look of a press room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.operator import Operator
from tests.support.press_room import DRAFT, SLUG

LOGO = "https://example.org/logo.png"


def test_a_press_room_is_opened_with_its_logo_and_colour(operator: Operator) -> None:
    look = ("--logo", LOGO, "--accent", "#7a1f3d")
    said = operator.does(
        "publisher", "add", SLUG, "--name", DRAFT.name, "--from", DRAFT.from_address, *look
    )
    assert "mailer_" in said.out


def test_a_press_room_changes_its_name_and_look(operator: Operator) -> None:
    operator.opens_a_room()
    branding = ("--name", "Fjellavisa", "--website", "https://example.org/", "--logo", LOGO)
    said = operator.does("publisher", "set", SLUG, *branding, "--accent", "#7a1f3d")
    assert SLUG in said.out
    operator.does("publisher", "set", SLUG, "--logo", "", "--accent", "")


def test_a_colour_that_nobody_can_read_is_refused_with_a_sentence(operator: Operator) -> None:
    operator.opens_a_room()
    sentence = operator.run("publisher", "set", SLUG, "--accent", "#ffd700").sentence
    assert sentence.startswith("accent: #ffd700 is too light to be read on white")


def test_a_name_cannot_be_taken_away(operator: Operator) -> None:
    operator.opens_a_room()
    assert operator.run("publisher", "set", SLUG, "--name", "").sentence.startswith("name: ")


def test_what_a_press_room_says_of_itself_comes_from_files(
    operator: Operator, tmp_path: Path
) -> None:
    contacts, privacy = tmp_path / "contacts.json", tmp_path / "privacy.txt"
    contacts.write_text('[{"name": "Ada Ås"}]')
    privacy.write_text("Spør Ada Ås.")
    operator.opens_a_room()
    files = ("--contacts", str(contacts), "--privacy", str(privacy))
    operator.does("publisher", "set", SLUG, "--about", "Kysten.", *files)
    operator.does("publisher", "set", SLUG, "--about", "", "--contacts", "", "--privacy", "")


@pytest.mark.parametrize("option", ["--contacts", "--privacy"])
def test_a_file_that_cannot_be_read_is_a_mistake(
    operator: Operator, tmp_path: Path, option: str
) -> None:
    operator.opens_a_room()
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"\xe5")
    for file in (tmp_path / "none", tmp_path, latin):
        said = operator.run("publisher", "set", SLUG, option, str(file))
        assert (said.status, "cannot be read" in said.err) == (2, True)


def test_contacts_that_are_no_json_are_a_mistake(operator: Operator, tmp_path: Path) -> None:
    operator.opens_a_room()
    file = tmp_path / "contacts.json"
    file.write_text("Ada Ås")
    said = operator.run("publisher", "set", SLUG, "--contacts", str(file))
    assert (said.status, "is not JSON" in said.err) == (2, True)


def test_nothing_to_change_is_a_mistake(operator: Operator) -> None:
    operator.opens_a_room()
    said = operator.run("publisher", "set", SLUG)
    assert said.status == 2
    assert "Say what to change" in said.err
