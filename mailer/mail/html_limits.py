"""Limits of the HTML of a release: counted before a parser sees it, in time linear in its length.

Parsers take time that grows with the square of the nesting, and memory that grows with elements
times open formatting elements; the one that inlines styles overflows its stack. The tags are told
apart as the HTML Standard says (13.2.5). Of what is open, this knows only what is certain to be
closed: never less is counted than a parser has open, but too much where elements are misnested.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

ELEMENTS, OPEN = 20_000, 100
"""How many elements a release may have, and how many one in another."""
_UNWEIGHED = 300
"""Open elements that close each other, such as rows and cells: those left open for nothing."""

_ATTRIBUTE = r"""[\t\n\f\r /]*+[^\t\n\f\r />][^\t\n\f\r />=]*+
    (?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:"[^"]*+"|'[^']*+'|[^\t\n\f\r >]*+))?+"""
_TAG = re.compile(
    rf"""<!--(?:>|->|.*?--!?>)
    |</?+(?=[a-zA-Z])(?P<name>[^\t\n\f\r />]++)(?:{_ATTRIBUTE})*+[\t\n\f\r /]*+>
    |<(?!!--)(?:[!?]|/(?![a-zA-Z]))[^>]*+>""",
    re.VERBOSE | re.DOTALL,
)
_LIKE_A_TAG = re.compile(r"</?[a-zA-Z]")
_BEGINS = re.compile(r"<[a-zA-Z/!?]")
_VOID = frozenset(
    {"area", "base", "basefont", "bgsound", "body", "br", "col", "embed", "frame", "head", "hr"}
    | {"html", "img", "input", "keygen", "link", "meta", "param", "source", "track", "wbr"}
)
_RAW = frozenset({"iframe", "title", "xmp", "noembed", "noframes"})
"""Elements whose content is text up to their end tag."""
_OTHER_RULES = frozenset(
    {"frameset", "math", "noscript", "plaintext", "script", "select"}
    | {"style", "svg", "template", "textarea"}
)
"""Elements in which other rules hold, all of which are refused once HTML is parsed."""
_FORMATTING = frozenset(
    {"a", "b", "big", "code", "em", "font", "i", "nobr"}
    | {"s", "small", "strike", "strong", "tt", "u"}
)
"""A parser opens these again in the next block, until their own end tag."""
_TERMS, _CELLS = frozenset({"dd", "dt"}), frozenset({"td", "th"})
_ROWS = _CELLS | {"tr"}
_SECTIONS = _ROWS | {"tbody", "tfoot", "thead"}
_CLOSES = {
    "p": frozenset({"p"}),
    "li": frozenset({"li"}),
    "tr": _ROWS,
    **dict.fromkeys(_TERMS, _TERMS),
    **dict.fromkeys(_CELLS, _CELLS),
    **dict.fromkeys(_SECTIONS - _ROWS, _SECTIONS),
}
"""What a start tag closes: these need no end tags, and are not counted."""
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "center", "details", "dir", "div", "dl"}
    | {"fieldset", "figcaption", "figure", "footer", "h1", "header", "main", "nav", "ol", "pre"}
    | {"section", "table", "ul"}
)
"""An end tag of these also closes what is open in them, but formatting elements."""
_BOUNDARIES = frozenset({"applet", "button", "caption", "marquee", "object", "table", "td", "th"})
"""No end tag closes what is open around these."""


def check(html: str) -> None:
    """Raise ValueError, with a sentence, for HTML that no parser should see."""
    elements = _OpenElements()
    for number, (name, closes, at) in enumerate(_tags(html)):
        if name in _OTHER_RULES and not closes:
            # Where it ends is not known, so all that looks like a tag is counted as one.
            if sum(1 for _ in _LIKE_A_TAG.finditer(html, at)) > OPEN:
                raise ValueError(f"A release may not hold <{name}>.")
            return
        if number >= 2 * ELEMENTS:
            raise ValueError(f"The HTML has more than {ELEMENTS:,} elements.")
        if closes:
            elements.close(name)
        else:
            elements.open(name)


def _tags(html: str) -> Iterator[tuple[str, bool, int]]:
    """Go through the tags: their names, whether they are end tags, and where they end."""
    at = 0
    while begins := _BEGINS.search(html, at):
        tag = _TAG.match(html, begins.start())
        if tag is None:
            # It has no end, and neither has what follows: a parser drops it.
            return
        at = tag.end()
        if tag["name"]:
            name, closes = tag["name"].lower(), tag[0].startswith("</")
            yield name, closes, at
            if name in _RAW and not closes:
                end = re.compile(rf"</{name}[\t\n\f\r />]", re.IGNORECASE).search(html, at)
                if end is None:
                    return
                at = end.start()


class _OpenElements:
    """The elements that are open, from the outermost on."""

    def __init__(self) -> None:
        self._open: list[str] = []

    def open(self, name: str) -> None:
        """Note a start tag; raises ValueError."""
        if name in _VOID or name in _RAW:
            return
        while self._open and self._open[-1] in _CLOSES.get(name, ()):
            self._open.pop()
        self._open.append(_plain(name))
        weighed = sum(one not in _CLOSES for one in self._open)
        if weighed > OPEN or len(self._open) - weighed > _UNWEIGHED:
            raise ValueError(f"The HTML has more than {OPEN} elements in one another.")

    def close(self, name: str) -> None:
        """Note an end tag, which closes an element only where that is certain."""
        name = _plain(name)
        for place in reversed(range(len(self._open))):
            one = self._open[place]
            if one == name:
                inside = self._open[place + 1 :]
                self._open[place:] = [each for each in inside if each in _FORMATTING]
                return
            if name in _BLOCKS:
                blocked = one in _BOUNDARIES and name != "table"
            else:
                blocked = one not in _FORMATTING
            if blocked:
                return


def _plain(name: str) -> str:
    """Return the name of an element; an end tag of any heading closes any other."""
    return "h1" if re.fullmatch("h[1-6]", name) else name
