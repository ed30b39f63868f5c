"""What HTML would cost a parser, as far as its tags tell without one.

What ends in a wrong order, or hides in an attribute, can be deeper than it is counted here: the
clock of `mail.compose` stops that.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

ELEMENTS, DEPTH, DEPTH_GIVEN, EMBEDDED = 40_000, 100, 400, 400
"""How many elements a release may have, how many of them in one another once it is cleaned and as
it is given, and how many films and the like. A parser's time grows with the square of the depth,
and what inlines styles overflows its stack at some ten thousand."""

REFERENCES = 60_000
"""How many characters are references such as `&nbsp;`, or become one when it is cleaned: a parser
takes ten microseconds for each, each time."""

_TAG = re.compile(r"<(/?)([a-z][^\t\n\f\r />]*)")
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source"}
    | {"track", "wbr"}
)
# Their end is implied by the next of their kind, so that many of them need not be in one another.
_IMPLIED = frozenset(
    {"p", "li", "dd", "dt", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup"}
)
_UNCOUNTED = _VOID | _IMPLIED
# But an item of one kind of list does not end one of the other kind: there it is inside.
_ITEMS = {"li": "li", "dd": "dd", "dt": "dd"}
_LISTS = frozenset({"ul", "ol", "menu", "dl"})
# What of these is left open at the end of a block is opened again in the next one (WHATWG HTML,
# 13.2.4.3), so a parser makes more elements of them than there are tags.
_FORMATTING = frozenset(
    {"a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt"}
    | {"u"}
)
# A second one ends the first.
_ALONE = frozenset({"a", "button", "nobr"})
_CELLS = frozenset({"td", "th", "caption"})
_ROWS = _CELLS | {"tr", "thead", "tbody", "tfoot"}
_TABULAR = _ROWS | {"tfoot", "colgroup", "col"}
_TABLE_DEPTH = 4
# What is drawn has rules of its own, and is refused: some is enough to say so.
_EMBEDDED = frozenset({"iframe", "video", "audio", "embed", "object", "svg", "math"})


@dataclass(slots=True)
class _Level:
    """What is open outside of all tables, or in the present cell of one table."""

    in_cell: bool
    open: Counter[str] = field(default_factory=Counter)
    items: list[str] = field(default_factory=list)
    """The lists that are open, and their items that are in one another."""

    @property
    def depth(self) -> int:
        return self.open.total() + len(self.items)

    @property
    def formatting(self) -> int:
        return sum(self.open[name] for name in self.open.keys() & _FORMATTING)


class _Reader:
    """Follows the tags of HTML as a parser would, as far as that concerns what it costs."""

    def __init__(self) -> None:
        self.elements = self.deepest = self.embedded = 0
        self._levels = [_Level(in_cell=True)]

    def read(self, end: str, name: str) -> None:
        """Count one tag."""
        # A parser looks for the beginning of an end that has none among all that is open.
        ends_nothing = end and name not in _UNCOUNTED and not self._levels[-1].open[name]
        self.elements += not end or bool(ends_nothing)
        # What stands in a table and in no cell is put before it, which takes twice as long.
        fostered = not (end or self._levels[-1].in_cell or name in _TABULAR)
        self.elements += fostered
        self.embedded += name in _EMBEDDED and not end
        if name not in _FORMATTING:
            self.elements += self._levels[-1].formatting
        if name == "table":
            self._table(end)
        elif name in _ROWS and len(self._levels) > 1:
            self._levels[-1] = _Level(in_cell=name in _CELLS and not end)
        elif name not in _UNCOUNTED:
            self._nest(end, name)
        if name in _LISTS or name in _ITEMS:
            self._item(end, _ITEMS.get(name, name))
        depth = sum(_TABLE_DEPTH + level.depth for level in self._levels)
        self.deepest = max(self.deepest, depth)

    def _table(self, end: str) -> None:
        # A table ends the one in which it begins, but for a cell of that.
        if len(self._levels) > 1 and (end or not self._levels[-1].in_cell):
            self._levels.pop()
        if not end:
            self._levels.append(_Level(in_cell=False))

    def _item(self, end: str, name: str) -> None:
        items = self._levels[-1].items
        if not end and (name in _LISTS or items[-1:] != [name]):
            items.append(name)
        elif end and name in items:
            while items.pop() != name:
                pass

    def _nest(self, end: str, name: str) -> None:
        # In a table but in no cell, an element is put before the table.
        level = next(level for level in reversed(self._levels) if level.in_cell)
        if end:
            level.open[name] = max(0, level.open[name] - 1)
        elif name not in _ALONE or not level.open[name]:
            level.open[name] += 1


def excess(html: str) -> str | None:
    """Return a sentence that says of what there is too much in HTML as it is given, or None."""
    # As a parser lowers names: in ASCII alone, so that a Kelvin sign is no k.
    lowered = html.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")
    reader, tags = _Reader(), _TAG.findall(lowered)
    for end, name in tags:
        reader.read(end, name)
        if reader.deepest > DEPTH_GIVEN:
            break
    for number, most, of_what in (
        (_references(html, tags=len(tags)), REFERENCES, "character references"),
        (reader.elements, ELEMENTS, "elements"),
        (reader.deepest, DEPTH_GIVEN, "elements in one another"),
        (reader.embedded, EMBEDDED, "films, players and frames"),
    ):
        if number > most:
            return f"The HTML has more than {most:,} {of_what}."
    return None


def _references(html: str, *, tags: int) -> int:
    """Count what is a reference, or becomes one when the HTML is cleaned."""
    less, greater = html.count("<"), html.count(">")
    return html.count("&") + html.count("\N{NO-BREAK SPACE}") + max(0, greater - less) + less - tags
