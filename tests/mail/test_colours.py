"""Colours that can be read, by the measure of WCAG."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.config import TEMPLATES
from mailer.mail.colours import ACCENT, DARK, READABLE, WHITE, contrast, is_colour, on_dark

colours = st.integers(0, 0xFFFFFF).map("#{:06x}".format)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#000000", "#ffffff", 21), ("#777777", "#ffffff", 4.48), ("#ff0000", "#ffffff", 4.00)],
)
def test_contrast_is_what_others_say_it_is(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.01)
    assert contrast(other, one) == contrast(one, other)


@given(colours)
def test_every_colour_can_be_read_in_dark_mode_and_on_a_button(colour: str) -> None:
    lightened = on_dark(colour)
    assert is_colour(lightened)
    assert contrast(lightened, DARK) >= READABLE
    assert contrast(lightened, "#101213") >= READABLE


def test_what_is_light_enough_already_is_left_alone() -> None:
    assert on_dark("#ffd700") == "#ffd700"


def test_our_own_colour_can_be_read() -> None:
    assert contrast(ACCENT, WHITE) >= READABLE


def test_the_letters_have_the_dark_that_is_reckoned_with() -> None:
    letter, button = (
        (TEMPLATES / "emails" / name).read_text() for name in ("letter.css", "button.css")
    )
    assert f".letter {{ background-color: {DARK} !important; }}" in letter
    assert ".button a { color: #101213 !important; }" in button


@pytest.mark.parametrize("text", ["", "red", "#fff", "#0B5394", "#0b53940", "0b5394", "#0b539\n"])
def test_a_colour_is_written_in_one_way(text: str) -> None:
    assert not is_colour(text)
