"""Fits the HTML of a story into the column of a letter, for mail clients that know little CSS."""

from __future__ import annotations

import re

COLUMN = 520
"""The width of a letter's text in pixels."""

# Whole tags, as the sanitiser writes them, so that text in an attribute is not taken for a tag.
_TAG = re.compile(r'<(/?)([a-z0-9]+)((?: [a-z]+="[^"]*")*)>')
_ATTRIBUTE = re.compile(r' ([a-z]+)="([^"]*)"')


def fit_to_column(html: str) -> str:
    """Return sanitised HTML with no picture wider than the column, and with tables that scroll.

    Every picture has an alt text, if an empty one: else screen readers read out its address.
    """
    return _TAG.sub(_fit_tag, html)


def _fit_tag(tag: re.Match[str]) -> str:
    closing, name, attributes = tag.groups()
    if name == "img":
        return _picture(dict(_ATTRIBUTE.findall(attributes)))
    if name == "table":
        # Without tabindex, keyboards cannot reach an element that scrolls.
        return f"{tag[0]}</div>" if closing else f'<div class="wide" tabindex="0">{tag[0]}'
    return tag[0]


def _picture(attributes: dict[str, str]) -> str:
    """Limit width and height in the attributes, since Outlook ignores max-width."""
    attributes.setdefault("alt", "")
    width, height = (_pixels(attributes.pop(name, "")) for name in ("width", "height"))
    if width:
        wide = min(width, COLUMN)
        attributes["width"] = str(wide)
        if height:
            attributes["height"] = str(max(1, round(height * wide / width)))
    return "<img" + "".join(f' {name}="{value}"' for name, value in attributes.items()) + ">"


def _pixels(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
