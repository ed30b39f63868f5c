"""The HTML of a release: elements are kept, refused with a sentence, dropped, or become links."""

from __future__ import annotations

import re
from collections import Counter
from html import escape, unescape

import nh3

from mailer.mail.html.limits import DEPTH
from mailer.mail.html.parser import Parser

KEPT: dict[str, set[str]] = {
    "p": set(),
    "br": set(),
    "hr": set(),
    "h2": set(),
    "h3": set(),
    "h4": set(),
    "ul": set(),
    "ol": {"start"},
    "li": set(),
    "blockquote": set(),
    "strong": set(),
    "b": set(),
    "em": set(),
    "i": set(),
    "sub": set(),
    "sup": set(),
    "a": {"href", "lang"},
    "figure": set(),
    "figcaption": set(),
    "img": {"src", "alt", "width", "height"},
    "table": set(),
    "caption": set(),
    "thead": set(),
    "tbody": set(),
    "tr": set(),
    "th": {"colspan", "rowspan", "scope"},
    "td": {"colspan", "rowspan"},
    "span": {"lang"},
}
"""Elements that are kept, with their attributes; other harmless ones are dropped."""

_REFUSED = {
    *("script", "style", "noscript", "template", "base", "link", "meta"),
    *("form", "input", "button", "select", "textarea"),
    *("iframe", "frame", "object", "embed", "applet", "audio", "video", "canvas", "svg", "math"),
}
"""Elements that are refused; those that embed a film or the like become links before that."""
_KEPT_SCHEMES = {"http", "https", "mailto", "tel"}
_REFUSED_SCHEMES = {"javascript", "vbscript", "data", "file", "blob", "ftp"}
_ADDRESSES = {"href", "src", "action", "formaction", "xlink:href", "poster", "background"}

# As the sanitiser writes them, so that text in an attribute is not taken for a tag.
_CLEAN_TAG = re.compile(r'<(/?)([a-z0-9]+)(?: [a-z]+="[^"]*")*>')
_VOID = {"br", "hr", "img"}
_ANY = re.compile(r"<(?:iframe|video|audio|embed|object)\b", re.IGNORECASE)
# These are matched in well-formed HTML only: every value is quoted, every element closed.
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
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# In well-formed HTML: whatever may be refused, and some text that only looks so. Most HTML has
# none of it, and is not read for it.
_SUSPECT = re.compile(
    rf"<(?:{'|'.join(_REFUSED)})\b| on[^\s=]*="
    rf"| (?:{'|'.join(_ADDRESSES)})=(?!\"(?:{'|'.join(_KEPT_SCHEMES)}):)"
)
_EVENT = re.compile(r' on[^\s=]*="')


def accepted(html: str) -> str:
    """Return what is kept of HTML as it is given; raises ValueError with a sentence."""
    # At first, since what is well formed costs the next parsers little.
    html = linked(well_formed(html))
    if found := _found(html):
        raise ValueError(f"A release may not hold {', '.join(found)}.")
    kept = clean(html)
    if depth(kept) > DEPTH:
        raise ValueError(f"The HTML has more than {DEPTH} elements in one another.")
    if not kept:
        raise ValueError("This may not be empty.")
    # A reference such as &#1; becomes a control character only when HTML is parsed.
    if controlled(kept):
        raise ValueError("The text holds control characters.")
    return kept


def controlled(html: str) -> bool:
    """Tell whether HTML holds control characters, or halves of a surrogate pair."""
    return _CONTROL.search(html) is not None


def depth(html: str) -> int:
    """Return how many elements of cleaned HTML are in one another at most."""
    deepest = now = 0
    for closing, name in _CLEAN_TAG.findall(html):
        if name not in _VOID:
            now += -1 if closing else 1
            deepest = max(deepest, now)
    return deepest


def refused(html: str) -> list[str]:
    """Return what a release may not contain, such as `<script>`, each once, in order."""
    return _found(well_formed(html))


def _found(html: str) -> list[str]:
    if not _SUSPECT.search(html):
        return []
    finder = _Finder()
    finder.feed(html)
    finder.close()
    return list(dict.fromkeys(finder.found))


def well_formed(html: str) -> str:
    """Return HTML as a browser parses it, with all that is kept, refused, or holds an address.

    On HTML that is not well formed, html.parser takes time that grows with the square of its
    length, or raises.
    """
    return nh3.clean(
        html,
        tags={*KEPT, *_REFUSED, "source"},
        clean_content_tags=set(),
        attributes={"*": _ADDRESSES.union({"data", "title"}, *KEPT.values())},
        generic_attribute_prefixes={"on"},
        url_schemes=_KEPT_SCHEMES | _REFUSED_SCHEMES,
        link_rel=None,
    )


def clean(html: str) -> str:
    """Return well-formed HTML of KEPT elements; links lead to the web, to mail or to a phone."""
    # Dropping an element may leave nesting that no parser produces: paragraphs in a paragraph.
    kept = _kept(html)
    return (kept if kept == html else _kept(kept)).strip()


def _kept(html: str) -> str:
    return nh3.clean(
        html,
        tags=set(KEPT),
        # Without the star, ammonia adds `lang` and `title` everywhere.
        attributes={"*": set(), **{tag: names for tag, names in KEPT.items() if names}},
        url_schemes=_KEPT_SCHEMES,
        link_rel=None,
        strip_comments=True,
    )


class _Finder(Parser):
    """Collects the elements, attributes and links that are refused rather than dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Read `<![` as the beginning of a comment, as browsers do; html.parser would raise.

        Well-formed HTML can have it inside iframe and noscript, whose text is not escaped, and is
        searched as if it were markup.
        """
        return self.parse_bogus_comment(i, report)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element if it is refused, and its refused attributes."""
        if tag in _REFUSED:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on"):
                self.found.append(f"{name}=")
            elif name in _ADDRESSES and not _has_kept_scheme(value or ""):
                self.found.append(f"{name}={(value or '')[:40]!r}")


def _has_kept_scheme(address: str) -> bool:
    """Tell whether a link has a scheme that is kept; browsers ignore white space in schemes."""
    squeezed = "".join(address.split()).lower()
    scheme, colon, _ = squeezed.partition(":")
    return bool(colon) and scheme in _KEPT_SCHEMES


def linked(html: str) -> str:
    """Return the HTML with a link in place of each embedded film or the like.

    An element without a web address, or with refused content, stays, and is refused itself.
    """
    return _Linking().run(html) if _ANY.search(html) else html


class _Linking:
    """Goes through the elements in order, counting which are open around an embedded one."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def run(self, html: str) -> str:
        return _PIECE.sub(self._piece, well_formed(html))

    def _piece(self, found: re.Match[str]) -> str:
        if around := found["around"]:
            self._open[around] += -1 if found["end"] else 1
            return found[0]
        attributes, inside = found[2] or found[4] or "", found["inside"] or ""
        address = _address(attributes, inside)
        if address is None or _EVENT.search(attributes) or refused(_INNER.sub("", inside)):
            return found[0]
        title = _TITLE.search(attributes)
        text = escape((" ".join(unescape(title[1]).split()) if title else "") or address)
        if self._open["a"]:
            return text
        link = f'<a href="{escape(address)}">{text}</a>'
        return link if self._open.total() else f"<p>{link}</p>"


def _address(attributes: str, inside: str) -> str | None:
    """Return the address of an embedded element, from its attributes or its first source."""
    candidates = [attributes, *(source[1] for source in _INNER.finditer(inside))]
    for found in filter(None, map(_ADDRESS.search, candidates)):
        address = unescape(found[1])
        return f"https:{address}" if address.startswith("//") else address
    return None
