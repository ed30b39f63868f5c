"""No text of a release takes what draws nothing: each is refused, and its field named."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.problems import problem
from tests.support.press_room import PressRoom
from tests.support.publishing_system import RELEASES
from tests.support.releases import RELEASE

EVIL = {
    "NUL": "\0",
    "start of heading": "\x01",
    "backspace": "\b",
    "vertical tab": "\v",
    "form feed": "\f",
    "escape": "\x1b",
    "delete": "\x7f",
    "next line": "\x85",
    "application program command": "\x9f",
    "half a character": "\ud800",
    "the other half": "\udfff",
}
BETWEEN_LINES = {
    "line feed": "\n",
    "carriage return": "\r",
    "tab": "\t",
    "line separator": "\u2028",
    "right-to-left override": "\u202e",
}
CONTENT = {**RELEASE, "published_at": "2026-11-13T09:00:00+01:00", "note": "Nye tall."}


def texts(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """List the places of all texts in a release."""
    if isinstance(value, str):
        return [path]
    inner: Any = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [place for key, one in inner for place in texts(one, (*path, key))]


PLACES = texts(CONTENT)
NAMES = [".".join(map(str, place)) for place in PLACES]


def holding(evil: str, place: tuple[str | int, ...]) -> dict[str, Any]:
    """Write the release with this in the middle of one of its texts."""
    content = deepcopy(CONTENT)
    inner: Any = content
    for key in place[:-1]:
        inner = inner[key]
    text = inner[place[-1]]
    inner[place[-1]] = f"{text[:1]}{evil}{text[1:]}"
    return content


def refused(client: PressRoom, content: dict[str, Any], field: str) -> None:
    """See that this is answered, by publishing as by previewing, with the one field's name."""
    for path in (RELEASES, f"{RELEASES}/preview"):
        told = problem(client.call("POST", path, json=content), 422)
        assert [one["field"] for one in told["errors"]] == [field]


def test_the_release_has_a_text_in_every_field() -> None:
    assert {"title", "body_html", "image.alt", "keywords.0", "contacts.0.phone"} <= set(NAMES)


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
@pytest.mark.parametrize("place", PLACES, ids=NAMES)
def test_no_text_takes_a_control_character(
    shared_room: PressRoom, place: tuple[str | int, ...], evil: str
) -> None:
    refused(shared_room, holding(evil, place), ".".join(map(str, place)))


@pytest.mark.parametrize("evil", BETWEEN_LINES.values(), ids=BETWEEN_LINES)
@pytest.mark.parametrize("place", PLACES, ids=NAMES)
def test_no_line_takes_what_would_break_or_turn_it(
    shared_room: PressRoom, place: tuple[str | int, ...], evil: str
) -> None:
    if place != ("body_html",):
        refused(shared_room, holding(evil, place), ".".join(map(str, place)))


@pytest.mark.parametrize("written", ["&#1;", "&#x1b;", "&#127;", "&#x9d;"])
def test_no_control_character_comes_in_written_as_a_number(
    shared_room: PressRoom, written: str
) -> None:
    html = f"<p>SØRØYA — Bøttene {written} er fulle.</p>"
    refused(shared_room, {**CONTENT, "body_html": html}, "body_html")


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sampled_from(PLACES),
    st.characters(categories=["Cc", "Cs"]).filter(lambda one: one not in "\t\r\n"),
)
def test_no_text_takes_any_other_either(
    shared_room: PressRoom, place: tuple[str | int, ...], evil: str
) -> None:
    refused(shared_room, holding(evil, place), ".".join(map(str, place)))


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
def test_no_field_is_known_by_a_name_with_a_control_character(
    shared_room: PressRoom, evil: str
) -> None:
    told = problem(shared_room.call("POST", RELEASES, json={**CONTENT, f"title{evil}": "a"}), 422)
    assert len(told["errors"]) == 1
