"""A press room's colour: its contrast on white, and a lighter mixture for dark mode."""

from __future__ import annotations

import re
from functools import lru_cache

ACCENT = "#0b5394"
"""The colour of a press room that has chosen none."""
READABLE = 4.5
"""The least contrast of text to its background (WCAG 2.2, 1.4.3)."""
WHITE = "#ffffff"
DARK = "#191c1e"
"""The background of a letter in dark mode, as letter.css has it."""

_COLOUR = re.compile(r"#[0-9a-f]{6}")
_STEPS = 50
_ON_DARK = 7
"""More than WCAG asks for, since thin coloured letters look less bright than white ones."""
_STRAIGHT_UNTIL = 0.04045


def is_colour(text: str) -> bool:
    """Tell whether a text is a colour such as `#0b5394`."""
    return _COLOUR.fullmatch(text) is not None


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, from 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@lru_cache(maxsize=64)
def on_dark(accent: str) -> str:
    """Return the colour mixed with just enough white to be easy to read in dark mode."""
    mixtures = (_mixed(accent, step / _STEPS) for step in range(_STEPS))
    return next((one for one in mixtures if contrast(one, DARK) >= _ON_DARK), WHITE)


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(value / 255) for value in _values(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    """Undo the curve of sRGB (IEC 61966-2-1), which is straight for the darkest values."""
    straight = value / 12.92
    return straight if value <= _STRAIGHT_UNTIL else float(((value + 0.055) / 1.055) ** 2.4)


def _mixed(colour: str, white: float) -> str:
    return "#" + "".join(f"{round(one + (255 - one) * white):02x}" for one in _values(colour))


def _values(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))
