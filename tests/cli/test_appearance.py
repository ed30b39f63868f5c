"""What an operator says about the look of a press room."""

from __future__ import annotations

from tests.cli.operator import Operator
from tests.domain.cast import ROOM, SLUG

LOGO = "https://example.org/logo.png"


def test_a_press_room_is_opened_with_its_logo_and_colour(operator: Operator) -> None:
    look = ("--logo", LOGO, "--accent", "#7a1f3d")
    said = operator.does(
        "publisher", "add", SLUG, "--name", ROOM.name, "--from", ROOM.from_address, *look
    )
    assert "mailer_" in said.out


def test_a_press_room_changes_its_name_and_look(operator: Operator) -> None:
    operator.opens_a_room()
    traits = ("--name", "Fjellavisa", "--website", "https://example.org/", "--logo", LOGO)
    said = operator.does("publisher", "set", SLUG, *traits, "--accent", "#7a1f3d")
    assert SLUG in said.out
    operator.does("publisher", "set", SLUG, "--logo", "", "--accent", "")


def test_a_colour_that_nobody_can_read_is_refused_with_a_sentence(operator: Operator) -> None:
    operator.opens_a_room()
    sentence = operator.run("publisher", "set", SLUG, "--accent", "#ffd700").sentence
    assert sentence.startswith("accent: #ffd700 is too light to be read on white")


def test_a_name_cannot_be_taken_away(operator: Operator) -> None:
    operator.opens_a_room()
    assert operator.run("publisher", "set", SLUG, "--name", "").sentence.startswith("name: ")


def test_nothing_to_change_is_a_mistake(operator: Operator) -> None:
    operator.opens_a_room()
    said = operator.run("publisher", "set", SLUG)
    assert said.status == 2
    assert "Say what to change" in said.err
