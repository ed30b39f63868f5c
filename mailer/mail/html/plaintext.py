"""Converts the HTML of a story to plain text in the form of a wire story."""

from __future__ import annotations

import re
import textwrap
from functools import lru_cache

from mailer.mail.html.parser import Parser

WIDTH = 72
_DEEPEST = 32
"""Columns by which lists and quotations are indented at most, so that a line has room for text."""
_SPACES = re.compile(r"[ \t\r\n\f]+")  # HTML's white space; a no-break space stays
_BLOCKS = frozenset(
    {"p", "h2", "h3", "ul", "ol", "li", "blockquote", "figure", "figcaption", "div"}
    | {"table", "caption", "thead", "tbody", "tfoot"}
)


def wrap(text: str, indent: str = "", bullet: str | None = None) -> str:
    """Fold one paragraph at 72 columns; words and addresses are never broken."""
    text, first = _SPACES.sub(" ", text).strip(" "), indent if bullet is None else bullet
    if text and len(first) + len(text) <= WIDTH:
        return first + text
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


@lru_cache(maxsize=1)
def plain_text(html: str) -> str:
    """Return paragraphs of at most 72 columns, then the links they refer to by number.

    Lists, quotations and tables keep their layout; a picture becomes its alt text.
    """
    walker = _Walker()
    walker.feed(html)
    walker.close()
    return walker.result()


class _Walker(Parser):
    def __init__(self) -> None:
        super().__init__()
        self._paragraphs: list[tuple[str, bool]] = []  # True: no gap between two such neighbours
        # In pieces, since a text that is made longer piece by piece is copied each time.
        self._pieces: list[str] = []
        self._is_blank = True
        self._bullet: str | None = None
        self._in_row = False
        self._indents: list[str] = []
        self._counters: list[int] = []  # the next number in each open list; 0: it has bullets
        self._links: dict[str, int] = {}
        self._open_link: tuple[str, int] | None = None

    def result(self) -> str:
        """Return the text of the HTML fed so far, with the numbered links below."""
        self._flush()
        pieces: list[str] = []
        gapless = False
        for paragraph, tight in self._paragraphs:
            pieces += ("\n" if tight and gapless else "\n\n"), paragraph
            gapless = tight
        notes = [f"[{number}] {url}" for url, number in self._links.items()]
        return "\n\n".join(filter(None, ["".join(pieces).lstrip("\n"), "\n".join(notes)]))

    @property
    def _indent(self) -> str:
        return "".join(self._indents)[:_DEEPEST]

    def handle_data(self, data: str) -> None:
        self._add(_SPACES.sub(" ", data))

    def _add(self, text: str) -> None:
        self._pieces.append(text)
        self._is_blank = self._is_blank and not text.strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self._close_block(tag)
        match tag:
            case "a":
                self._open_link = (attributes.get("href", ""), len(self._pieces))
            case "tr":
                self._in_row = True
            case "blockquote":
                self._indents.append("    ")
            case "ul" | "ol":
                self._open_list(int(tag == "ol"))
            case "li":
                self._open_item()
            case _:
                self._add(self._mark(tag, attributes.get("alt", "")))

    def handle_endtag(self, tag: str) -> None:
        self._close_block(tag)
        match tag:
            case "a":
                self._close_link()
            case "tr":
                self._in_row = False
            case "blockquote" | "li" if self._indents:
                self._indents.pop()
            case "ul" | "ol" if self._counters:
                self._counters.pop()

    def _mark(self, tag: str, alt: str) -> str:
        """Return the text for a picture, a line break, or the gap between two table cells."""
        if tag == "img" and alt:
            return f" [{alt}] "
        if tag in ("td", "th") and not self._is_blank:
            return " | "
        return "\n" if tag == "br" else ""

    def _open_list(self, first: int) -> None:
        if not self._counters and self._paragraphs:
            self._paragraphs[-1] = (self._paragraphs[-1][0], False)
        self._counters.append(first)

    def _open_item(self) -> None:
        number = self._counters[-1] if self._counters else 0
        mark = f"{number}. " if number else "- "
        if number:
            self._counters[-1] += 1
        self._bullet = self._indent + mark
        self._indents.append(" " * len(mark))

    def _close_link(self) -> None:
        """Add the number of the link behind its text, unless the text is the address itself."""
        if self._open_link is None:
            return
        (url, start), self._open_link = self._open_link, None
        shown = "".join(self._pieces[start:]).strip()
        if url and shown and url not in (shown, f"mailto:{shown}", f"tel:{shown}"):
            number = self._links.setdefault(url, len(self._links) + 1)
            while not (last := self._pieces.pop().rstrip(" ")):
                pass
            self._pieces += last, f" [{number}]"

    def _close_block(self, tag: str) -> None:
        """End the paragraph where a block or table row begins or ends; not at blocks in a row."""
        if tag == "tr" or (tag in _BLOCKS and not self._in_row):
            self._flush()

    def _flush(self) -> None:
        """End the paragraph; if it is empty, the next paragraph gets its bullet."""
        text, self._pieces, self._is_blank = "".join(self._pieces).strip(), [], True
        if self._open_link:
            self._open_link = (self._open_link[0], 0)
        if not text:
            return
        indent = self._indent
        first, *others = text.split("\n")
        lines = [wrap(first, indent, self._bullet), *(wrap(line, indent) for line in others)]
        self._paragraphs.append(("\n".join(lines), self._in_row or self._bullet is not None))
        self._bullet = None
