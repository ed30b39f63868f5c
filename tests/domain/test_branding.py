"""What readers see of a press room: checked when it is opened, and when it is changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailer.domain import publishers
from mailer.domain.branding import BrandingField, checked
from mailer.errors import InvalidInput, NotFound
from tests.support.press_room import DRAFT, SLUG, PressRoom

LOGO = "https://example.org/logo.png"


def test_a_press_room_is_opened_with_its_logo_and_colour(room: PressRoom) -> None:
    publishers.add(replace(DRAFT, slug="fjellavisa", logo_url=LOGO, accent="#7A1F3D "))
    found = publishers.find("fjellavisa")
    assert (found.logo_url, found.accent) == (LOGO, "#7a1f3d")


def test_a_press_room_can_change_what_readers_see_and_nothing_else(room: PressRoom) -> None:
    publishers.change(SLUG, {"name": " Fjord og fjell ", "logo_url": LOGO, "accent": "#000000"})
    publishers.change(SLUG, {"logo_url": None, "website_url": "https://example.org/"})
    found = publishers.find(SLUG)
    assert (found.name, found.website_url) == ("Fjord og fjell", "https://example.org/")
    assert (found.logo_url, found.accent) == (None, "#000000")
    assert (found.from_address, found.locale) == (DRAFT.from_address, DRAFT.locale)


def test_a_press_room_says_who_it_is_and_whom_to_ask(room: PressRoom) -> None:
    ada = {"name": "Ada Ås", "title": None, "email": "ada@example.org", "phone": "+47 00 00 00 00"}
    about = " Kysten.\r\n \r\nHavet. \n"
    publishers.add(
        replace(DRAFT, slug="fjellavisa", about=about, privacy="Spør oss.", contacts=[ada])
    )
    found = publishers.find("fjellavisa")
    assert (found.about, found.privacy, found.contacts) == (
        "Kysten.\n\nHavet.",
        "Spør oss.",
        [ada],
    )
    publishers.change("fjellavisa", {"about": " ", "privacy": None, "contacts": []})
    found = publishers.find("fjellavisa")
    assert (found.about, found.privacy, found.contacts) == (None, None, None)


def test_what_is_wrong_with_a_contact_is_told() -> None:
    with pytest.raises(InvalidInput) as refusal:
        checked({"contacts": [{"name": "Ada"}, {"name": "Kari", "email": "kari"}]})
    assert refusal.value.problems == {"contacts": "1.email: Enter one valid email address."}


def test_a_press_room_that_is_not_there_is_not_changed(room: PressRoom) -> None:
    with pytest.raises(NotFound):
        publishers.change("nobody", {"accent": "#000000"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None),
        ("name", "a\nb"),
        ("website_url", "javascript:alert(1)"),
        ("logo_url", "http://example.org/logo.png"),
        ("logo_url", "https://example.org/a b"),
        ("logo_url", "data:image/png;base64,aaaa"),
        ("logo_url", "https://example.org/" + "x" * 2_000),
        ("accent", "red"),
        ("accent", "#fff"),
        ("accent", "#777777"),
        ("accent", "#000000;}"),
        ("about", "a\x00b"),
        ("about", "a\u202eb"),
        ("about", "a" * 2_001),
        ("privacy", "a" * 5_001),
        ("contacts", "Kari"),
        ("contacts", [{"title": "leder"}]),
        ("contacts", [{"name": "Kari", "email": "kari"}]),
        ("contacts", [{"name": "Kari", "fax": "1"}]),
        ("contacts", [{"name": "Kari"}] * 21),
    ],
)
def test_what_cannot_be_shown_is_refused_by_name(
    room: PressRoom, field: BrandingField, value: object
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        publishers.change(SLUG, {field: value})
    assert list(refusal.value.problems) == [field.removesuffix("_url")]
    found = publishers.find(SLUG)
    assert (found.name, found.logo_url, found.accent) == (DRAFT.name, None, None)


def test_a_colour_that_is_too_light_is_told_by_how_much() -> None:
    with pytest.raises(InvalidInput) as refusal:
        checked({"accent": "#ffd700"})
    assert refusal.value.problems == {
        "accent": "#ffd700 is too light to be read on white: its contrast is 1.40, and text needs "
        "4.5. Choose a darker colour."
    }


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as refusal:
        checked({"name": "", "website_url": "a", "logo_url": "b", "accent": "c"})
    assert list(refusal.value.problems) == ["name", "website", "logo", "accent"]
