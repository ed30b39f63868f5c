"""Made stories for property tests: whatever a press room may publish, and what it must say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from html import escape

from hypothesis import strategies as st

from mailer.mail.content import Contact, Document, Headline, Image, PressRoom, Source, Story
from tests.mail.texts import lines

RECIPIENTS = (
    "kari.nordmann@example.org",
    "bjørn.ærlig@example.org",
    "kåre@xn--blbr-roah.example",
    "ola+presse@xn--blbr-roah.example",
    "用户@xn--fsqu00a.example",
    f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 60}.example",
)


@dataclass(frozen=True)
class Passage:
    """A piece of a story: its HTML, and the words and links that a reader must find."""

    html: str
    words: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    def __add__(self, following: Passage) -> Passage:
        return Passage(
            self.html + following.html,
            self.words + following.words,
            self.links + following.links,
        )

    def within(self, tag: str) -> Passage:
        """Put it into an element."""
        return replace(self, html=f"<{tag}>{self.html}</{tag}>")


def _together(passages: list[Passage]) -> Passage:
    return reduce(Passage.__add__, passages, Passage(""))


# What the API takes for one line: nothing that controls, turns or breaks it.
_visible = st.characters(
    exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029\u202a\u202b\u202c\u202d\u202e"
).filter(lambda one: not "\u2066" <= one <= "\u2069")
one_line = st.one_of(
    lines,
    st.text(_visible, min_size=1, max_size=60),
    st.sampled_from(["...", ".", "From here on", "-- ", "=20", "a=", "&amp;", "<b>", "x" * 250]),
).map(lambda text: " ".join(text.split()) or ".")
addresses = st.builds(
    "https://{}example.org/{}".format,
    st.sampled_from(["", "www.", "xn--blbr-roah."]),
    st.text("abc.-_~%/?&=;+:@0123456789", max_size=90).map(lambda path: path.rstrip(".")),
)

_text = one_line.map(lambda text: Passage(escape(text), (text,)))
_link = st.builds(
    lambda text, url: Passage(f'<a href="{escape(url)}">{escape(text)}</a>', (text,), (url,)),
    one_line,
    addresses,
)
_picture = st.builds(
    lambda alt, url: Passage(f'<img src="{escape(url)}" alt="{escape(alt)}">'), one_line, addresses
)
_inline = st.one_of(_text, _text.map(lambda one: one.within("strong")), _link)
_paragraph = st.lists(_inline, min_size=1, max_size=3).map(
    lambda pieces: _together([piece + Passage(" ") for piece in pieces])
)
_row = st.lists(_paragraph, min_size=1, max_size=3).map(
    lambda cells: _together([cell.within("td") for cell in cells]).within("tr")
)


def _list(items: st.SearchStrategy[Passage]) -> st.SearchStrategy[Passage]:
    return st.builds(
        lambda tag, several: _together([one.within("li") for one in several]).within(tag),
        st.sampled_from(["ul", "ol"]),
        st.lists(items, min_size=1, max_size=3),
    )


blocks = st.one_of(
    _paragraph.map(lambda one: one.within("p")),
    _text.map(lambda one: one.within("h2")),
    _list(st.recursive(_paragraph, _list, max_leaves=5)),
    _paragraph.map(lambda one: one.within("p").within("blockquote")),
    st.lists(_row, min_size=1, max_size=3).map(
        lambda rows: _together(rows).within("tbody").within("table")
    ),
    st.builds(lambda one, under: (one + under).within("figure"), _picture, _text),
)
bodies = st.lists(blocks, min_size=1, max_size=6).map(_together)

_FIRST = datetime(1970, 1, 2, tzinfo=UTC)
moments = st.timedeltas(timedelta(0), timedelta(days=83_000)).map(lambda since: _FIRST + since)
_pixels = st.one_of(st.none(), st.integers(1, 20_000))
_octets = st.one_of(st.none(), st.integers(0, 10**13))
maybe = st.one_of(st.none(), one_line)
_images = st.builds(Image, addresses, maybe, _pixels, _pixels, maybe, maybe)


def stories(passage: Passage) -> st.SearchStrategy[Story]:
    """Make stories around a body."""
    return st.builds(
        Story,
        language=st.sampled_from(["nb", "nn", "en", "ar", "zh-Hant", "se", "he"]),
        title=one_line,
        body_html=st.just(passage.html),
        image=st.one_of(st.none(), _images),
        source=st.one_of(st.none(), st.builds(Source, one_line, st.one_of(st.none(), addresses))),
        keywords=st.lists(one_line, max_size=4).map(tuple),
        contacts=st.lists(
            st.builds(Contact, one_line, maybe, st.sampled_from([None, *RECIPIENTS[:4]]), maybe),
            max_size=3,
        ).map(tuple),
        documents=st.lists(st.builds(Document, one_line, addresses, _octets), max_size=3).map(
            tuple
        ),
        web_url=st.one_of(st.none(), addresses),
        published_at=moments,
        lead=maybe,
        images=st.lists(_images, max_size=2).map(tuple),
        latest=st.lists(st.builds(Headline, one_line, addresses, moments), max_size=2).map(tuple),
    )


press_rooms = st.builds(
    PressRoom,
    name=one_line,
    from_address=st.sampled_from(["presse@museet.example", "presse@xn--blbr-roah.example"]),
    locale=st.sampled_from(["nb", "nn", "en"]),
    page_url=st.just("https://follow.example.com/sjofart/"),
    website_url=st.one_of(st.none(), addresses),
    list_id=st.just("sjofart.follow.example.com"),
    logo_url=st.one_of(st.none(), addresses),
    accent=st.sampled_from([None, "#000000", "#7a1f3d", "#006400"]),
)
