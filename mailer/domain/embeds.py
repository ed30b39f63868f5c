"""What no mail client shows, a frame, a film, a sound: a link to it takes its place."""

from __future__ import annotations

import re
from collections import Counter
from html import escape, unescape

from mailer.domain import markup

_ANY = re.compile(r"<(?:iframe|video|audio|embed|object)\b", re.IGNORECASE)
# What follows is read in HTML that is well formed: every value is quoted, every element closed.
_ATTRIBUTES = r'((?: [^\s=">]+="[^"]*")*)'
_PIECE = re.compile(
    rf"<(?P<tag>iframe|video|audio|object){_ATTRIBUTES}>(?P<inside>.*?)</(?P=tag)>"
    rf"|<embed{_ATTRIBUTES}>"
    r"|<(?P<end>/?)(?P<around>a|p|h[1-6]|strong|b|em|i|sub|sup|span|figcaption|caption)(?=[ >])",
    re.DOTALL,
)
_ADDRESS = re.compile(r' (?:src|data)="((?:https?:)?//[^"\s]+)"', re.IGNORECASE)
_INNER = re.compile(rf"<(?:source|embed){_ATTRIBUTES}>")
_TITLE = re.compile(r' title="([^"]*)"')
_RUNS = re.compile(r' on[^\s=]*="')


def linked(html: str) -> str:
    """Return the HTML with a link for every embedded thing that has an address on the web.

    One without, or with something in it that is refused, stays, and is refused itself.
    """
    return _Linking().run(html) if _ANY.search(html) else html


class _Linking:
    """Goes through the pieces in order, to know what is open around each."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def run(self, html: str) -> str:
        return _PIECE.sub(self._piece, markup.well_formed(html))

    def _piece(self, found: re.Match[str]) -> str:
        if around := found["around"]:
            self._open[around] += -1 if found["end"] else 1
            return found[0]
        attributes, inside = found[2] or found[4] or "", found["inside"] or ""
        address = _address(attributes, inside)
        if address is None or _RUNS.search(attributes) or markup.refused(_INNER.sub("", inside)):
            return found[0]
        title = _TITLE.search(attributes)
        text = escape((" ".join(unescape(title[1]).split()) if title else "") or address)
        if self._open["a"]:
            return text
        link = f'<a href="{escape(address)}">{text}</a>'
        return link if self._open.total() else f"<p>{link}</p>"


def _address(attributes: str, inside: str) -> str | None:
    """Return where the thing is: it says so itself, or the first of its sources does."""
    places = [attributes, *(source[1] for source in _INNER.finditer(inside))]
    for found in filter(None, map(_ADDRESS.search, places)):
        address = unescape(found[1])
        return f"https:{address}" if address.startswith("//") else address
    return None
