"""What the HTML of a release may hold, and what reaches the reader."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailer.mail.html.sanitize import KEPT, clean, refused
from tests.processes import PATIENCE_SECONDS

JUNK = ["script", "style", "form", "input", "svg", "math", "iframe", "div", "font", "template"]
JUNK += ["title", "textarea", "noscript", "body", "html", "select", "mtext", "x-own"]
URLS = ["https://example.org/", "mailto:ada@example.org", "javascript:a()", "java\tscript:a()"]
URLS += ["&#106;avascript:a()", "data:text/html,a", "vbscript:a", "//example.org", "", "#"]
ATTRIBUTES = ["onclick", "onload", "style", "class", "id", "srcset", "xlink:href", "formaction"]
ATTRIBUTES += sorted({name for names in KEPT.values() for name in names})

names = st.sampled_from([*KEPT, *JUNK])
attributes = st.builds('{}="{}"'.format, st.sampled_from(ATTRIBUTES), st.sampled_from(URLS))
elements = st.builds("<{} {}>".format, names, st.lists(attributes, max_size=3).map(" ".join))
oddities = ["<!--", "-->", "<![CDATA[", "]]>", "<![foo[", "<!DOCTYPE x>", "</", "<p/onclick=a>"]
oddities += ["&lt;script&gt;", "&#60;script>", "<", '"', "\0"]
pages = st.lists(
    st.one_of(elements, names.map("</{}>".format), st.sampled_from(oddities), st.text(max_size=9)),
    max_size=12,
).map("".join)


class Reader(HTMLParser):
    """Sees what a reader's mail client would be given."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@given(pages)
def test_whatever_comes_only_what_is_kept_reaches_the_reader(html: str) -> None:
    for tag, attributes in Reader(clean(html)).seen:
        assert set(attributes) <= KEPT[tag]


@given(pages)
def test_no_link_that_reaches_the_reader_runs_anything(html: str) -> None:
    for _, attributes in Reader(clean(html)).seen:
        for value in (attributes.get("href"), attributes.get("src")):
            scheme = "".join((value or "").split()).lower().partition(":")[0]
            assert scheme not in ("javascript", "vbscript", "data")


@example("<p><select><p>")
@example("<p><marquee><p>")
@given(pages)
def test_what_is_clean_stays_as_it_is(html: str) -> None:
    assert clean(clean(html)) == clean(html)


@example("<![foo[ x")
@example("<![ x")
@example("<noscript><![ x</noscript>")
@example("<iframe><![foo[ x")
@given(pages)
def test_any_text_can_be_searched_for_what_is_refused(html: str) -> None:
    assert isinstance(refused(html), list)


@pytest.mark.parametrize(
    ("html", "listed"),
    [
        ("<script>alert(1)</script>", "<script>"),
        ("<ScRiPt src=//evil.example>", "<script>"),
        ("<form action='https://evil.example'>", "<form>"),
        ("<p onclick='a()'>", "onclick="),
        ("<p ONCLICK=a()>", "onclick="),
        ("<img/src='https://example.org/a.jpg'/onerror=a()>", "onerror="),
        ("<svg/onload=a()>", "<svg>"),
        ("<iframe srcdoc='a'>", "<iframe>"),
        ("<style>p{}</style>", "<style>"),
        ("<meta http-equiv=refresh>", "<meta>"),
    ],
)
def test_what_runs_or_asks_is_named(html: str, listed: str) -> None:
    assert listed in refused(html)


@pytest.mark.parametrize(
    "address",
    [
        "javascript:a()",
        " JaVaScRiPt:a()",
        "java\tscript:a()",
        "java\nscript:a()",
        "javascript\n:a()",
        "&#106;avascript:a()",
        "&#x6A;avascript:a()",
        "javascript&colon;a()",
        "java&Tab;script:a()",
        "&#1;javascript:a()",
        "data:text/html,a",
        "vbscript:a",
        "file:///etc/passwd",
        "//evil.example",
        "/presserom",
        "",
    ],
)
@pytest.mark.parametrize("element", ["<a href='{}'>les</a>", "<img src='{}' alt='bær'>"])
def test_a_link_that_does_not_lead_to_the_web_is_named(element: str, address: str) -> None:
    [found] = refused(element.format(address))
    assert found.startswith(("href=", "src="))


@pytest.mark.parametrize("scheme", ["http://", "https://", "HTTPS://", "mailto:", "tel:"])
def test_a_link_to_the_web_to_mail_and_to_a_phone_is_fine(scheme: str) -> None:
    assert refused(f"<a href='{scheme}example.org'>les</a>") == []


def test_each_refusal_is_listed_once_in_order() -> None:
    html = "<form><p onclick=a()></form><script></script><script></script><form></form>"
    assert refused(html) == ["<form>", "onclick=", "<script>"]


def test_what_is_harmless_but_not_ours_falls_away() -> None:
    assert refused('<div class="a"><p>Hei</p></div>') == []
    assert clean('<div class="a"><p>Hei</p></div>') == "<p>Hei</p>"


@pytest.mark.processes
@pytest.mark.parametrize("piece", ["<a ", "<!--", "<a b='"])
def test_the_longest_text_is_judged_before_anyone_loses_patience(piece: str) -> None:
    """A press room's slip of the pen may not keep the web process from everybody else."""
    html = (piece * 300_000)[:300_000]
    judging = f"from mailer.mail.html.sanitize import refused; refused({html!r})"
    subprocess.run(
        [sys.executable, "-"], input=judging.encode(), timeout=PATIENCE_SECONDS, check=True
    )
