"""HTML that would cost a parser too much is refused before one sees it; what people write is not.

What is open is only found out by a parser. So each fragment is repeated: what a parser keeps open
of it adds up, and so does what is counted.
"""

from __future__ import annotations

import re
import subprocess
import sys

import nh3
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailer.mail.html_limits import ELEMENTS, OPEN, check
from mailer.mail.sanitize import clean
from tests.processes import PATIENCE_SECONDS

REPEATED = 400
DEPTH = 400
"""How deep HTML may be that is not refused: elements that are not counted are in others."""
NAMES = (
    *("a", "b", "font", "i", "nobr", "span", "x", "abbr", "o:p"),
    *("p", "div", "blockquote", "h1", "h2", "ul", "ol", "li", "dl", "dd", "dt", "form", "menu"),
    *("table", "caption", "colgroup", "tbody", "tr", "td", "th", "object", "button", "ruby", "rt"),
    *("hgroup", "dialog", "search", "option", "optgroup", "address", "pre", "center", "iframe"),
    *("title", "xmp", "marquee", "applet", "center", "body", "html", "details", "summary"),
)
VOID = {"br", "img", "hr", "col", "input", "embed", "source", "wbr", "link", "meta", "area"}
RAW = {"iframe", "title", "xmp"}
"""Elements whose text is not escaped."""
ATTRIBUTES = (
    *("", " a", " a=1", " a='</div>'", ' a="</b></i></x></table>"', " a=<!--", " a='\"'", "/"),
    *(" a=/", ' a="x"b', " =", " ='a'>", " 'a'", ' "'),
)
TAGS = st.builds(
    "<{}{}{}>".format,
    st.sampled_from(("", "", "/")),
    st.sampled_from(NAMES),
    st.sampled_from(ATTRIBUTES),
)
OTHERS = st.sampled_from(
    (
        *("x", " ", "<!--</div>-->", "<!--></b>-->", "<!--->", "<!-- --!></i>", "<!a </x>"),
        *("<?</span>", "</ a>", "</>", "<", "<![CDATA[</div>]]>", "&lt;b&gt;", "<img>", "<br/>"),
        *("</p>", "</br>"),
    )
)
FRAGMENTS = st.lists(TAGS | OTHERS, max_size=12).map("".join)
_TAG = re.compile(r"<(/?)([a-z0-9:]+)[^>]*>")


def is_refused(html: str) -> bool:
    """Tell whether HTML is refused."""
    try:
        check(html)
    except ValueError:
        return True
    return False


def depth(html: str) -> int:
    """Return how deep the tree is that a parser makes of HTML."""
    names = {*NAMES, *VOID} - RAW
    parsed = nh3.clean(html, tags=names, clean_content_tags=set(), link_rel=None)
    deepest = open_now = 0
    for closes, name in _TAG.findall(parsed):
        if name not in VOID:
            open_now += -1 if closes else 1
            deepest = max(deepest, open_now)
    return deepest


@settings(deadline=None, max_examples=300)
@given(FRAGMENTS)
@example("<div><!--</div>-->")
@example("<div a='</div>'>")
@example("<div><table><td></div></table>")
@example("<x><div></x></div>")
@example("<x><p></x></p>")
@example("<x><menu></x></menu>")
@example("<span><h2><div><h3></h2></div></span>")
@example("<i a=1><table></i></table>")
@example("<b><p>")
@example("<ul><li>")
@example("<div><iframe></div></iframe></div><div>")
def test_what_is_not_refused_is_shallow_however_often_it_is_repeated(fragment: str) -> None:
    html = fragment * REPEATED
    if not is_refused(html):
        assert depth(html) <= DEPTH
        assert depth("<div>" * 50 + html) <= DEPTH


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(("a", "b", "font", "i", "u")), max_size=3), FRAGMENTS)
@example(["i"], "<p>x")
def test_what_is_not_refused_is_not_made_much_larger(names: list[str], fragment: str) -> None:
    # Elements that differ are opened again in each block, more than three of them.
    many = "".join(f"<{name} title={one}>" for one in range(REPEATED) for name in names)
    html = f"<p>{many}{fragment * REPEATED}"
    if not is_refused(html):
        assert len(clean(html)) <= 10 * len(html) + 100 * OPEN


@pytest.mark.parametrize(
    "html",
    [
        "<b>" * 12_000 + "x",
        "<blockquote><p>x</p>" * 3_000,
        "<ul><li>" * 100_000,
        "<table><tr><td>" * 2_000,
        "<i><b>" * 5_000,
        "<p>" + "".join(f"<i title={one}>" for one in range(5_000)) + "<p>x" * 5_000,
        "<br>" * 200_000,
        "</p>" * 200_000,
        "<div><span></div>" * 20_000,
        "<tr><tbody>" * 50_000 + "</div>" * 50_000,
    ],
    ids=lambda html: html[:30],
)
def test_html_that_would_cost_too_much_is_refused(html: str) -> None:
    assert is_refused(html)


@pytest.mark.parametrize(
    "html",
    [
        "<p>Hei" * 1_000,
        "<ul>" + "<li>Hei" * 1_000 + "</ul>",
        "<table>" + "<tr><td>Hei<td>Hei" * 1_000 + "</table>",
        "<table>" + "<tr><td><p>Hei</p></td><td>Hei</td></tr>" * 1_000 + "</table>",
        "<div><p><span><b>Hei</b></span></p></div>" * 1_000,
        "<dl>" + "<dt>Hei<dd>Hei" * 1_000 + "</dl>",
        "<h2>Hei</h3>" * 1_000,
        "<p><b>Hei</p></b>" * 90,
        "<p>Hei<o:p></o:p></p>" * 1_000,
        "<p>1 < 2 && 3 <4</p>" * 1_000,
        "<div>" * (OPEN - 1) + "Hei",
    ],
    ids=lambda html: html[:30],
)
def test_what_editors_write_is_accepted(html: str) -> None:
    check(html)


@pytest.mark.processes
def test_the_longest_html_is_judged_before_anyone_loses_patience() -> None:
    pieces = ("<", "<!--", "<a ", "<a b='", '<a b="', "</", "<!", "<a=", "<a/", "<iframe>", "&")
    judging = f"""
from mailer.mail.html_limits import check
for piece in {pieces!r}:
    try:
        check((piece * 1_000_000)[:1_000_000])
    except ValueError:
        pass
"""
    subprocess.run(
        [sys.executable, "-"], input=judging.encode(), timeout=PATIENCE_SECONDS, check=True
    )


@pytest.mark.parametrize("name", ["select", "svg", "textarea", "script", "noscript", "template"])
def test_an_element_in_which_other_rules_hold_hides_nothing(name: str) -> None:
    for hidden in ("</div>", "<!--</div>", f"<!--</{name}>", f"<{name}></div>"):
        with pytest.raises(ValueError, match=f"may not hold <{name}>"):
            check(f"<div><{name}>{hidden}</{name}>" * 1_000)
        check(f"<div><{name}>{hidden}</{name}>")


def test_the_sentences_name_the_limits() -> None:
    with pytest.raises(ValueError, match=f"more than {ELEMENTS:,} elements"):
        check("<br></br>" * ELEMENTS + "<br>")
    with pytest.raises(ValueError, match=f"more than {OPEN} elements in one another"):
        check("<div>" * (OPEN + 1))
