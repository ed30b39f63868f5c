"""HTML that would end the process that composes it is refused; what people write is not."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import nh3
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailer.domain.releases.previews import EXAMPLE_ROOM, EXAMPLE_URL, preview
from mailer.domain.releases.release_body import ReleaseBody
from mailer.errors import InvalidInput
from mailer.mail.html.limits import DEPTH, DEPTH_GIVEN, ELEMENTS, EMBEDDED, excess
from mailer.mail.html.sanitize import KEPT, clean, depth
from tests.service import ROOT
from tests.support.releases import release

SEED = ROOT.parent / "shared" / "seed" / "release.json"

NAMES = (*sorted(KEPT), "div", "font", "center", "section", "menu", "button", "object", "x", "h1")
OTHERS = ("x", "<!--</b>-->", "<a title='</b>'>", "<img alt='<b>'>", "</bloc\u212aquote>")
PIECES = st.one_of(
    st.builds("<{}{}>".format, st.sampled_from(("", "", "/")), st.sampled_from(NAMES)),
    st.sampled_from(OTHERS),
)


class Levels(HTMLParser):
    """Counts how many elements are open at most, as another parser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.open = self.most = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open += tag not in ("br", "hr", "img")
        self.most = max(self.open, self.most)

    def handle_endtag(self, tag: str) -> None:
        self.open -= 1


def said(html: str) -> str:
    """Return why a body is refused, and nothing if it is not."""
    try:
        ReleaseBody.read(release(body_html=html))
    except InvalidInput as error:
        return str(error.problems.get("body_html", ""))
    return ""


@settings(deadline=None)
@given(st.lists(PIECES, max_size=10).map("".join))
@example("<li><div><li><ul></div>")
@example("<h2><h3></h2><div></h2>")
@example("<table><table></table><div></table>")
@example("<blockquote></bloc\u212aquote>")
@example("<b><p>")
@example("<ul><li>")
def test_what_is_deep_is_refused_however_it_is_written(fragment: str) -> None:
    html = fragment * 400
    if not said(html):
        levels = Levels()
        levels.feed(clean(html))
        assert levels.most <= DEPTH


ANY_NAME = (*NAMES, "dl", "dt", "dd", "rt", "option", "optgroup", "form", "nobr", "aside")
ANY_BEGINNING = st.builds("<{}>".format, st.sampled_from(ANY_NAME))
MOST_REPEATED = 500


@settings(deadline=None, max_examples=300)
@given(st.lists(ANY_BEGINNING | st.just("x"), max_size=6).map("".join))
@example("<dt><li>")
@example("<li><dd><p>")
@example("<td><li><dd>")
@example("<ul><li><dl><dd>")
def test_what_begins_and_never_ends_is_counted_as_deep_as_a_parser_makes_it(fragment: str) -> None:
    """Also elements that are not kept; what ends in a wrong order, only the clock stops."""
    html = fragment * MOST_REPEATED
    if excess(html) is None:
        levels = Levels()
        levels.feed(nh3.clean(html, tags=set(ANY_NAME), attributes={}, link_rel=None))
        assert levels.most < DEPTH_GIVEN + 50 < MOST_REPEATED


@pytest.mark.parametrize(
    ("html", "levels"),
    [
        ("<p>x</p>", 1),
        ("<ul><li><p>x<br>y</p></li></ul>", 3),
        ("<blockquote>" * 50, 50),
        ('<p><img src="https://e.no/" alt="<b><b>">x</p><p>y</p>', 1),
    ],
)
def test_the_depth_is_that_of_the_elements(html: str, levels: int) -> None:
    assert depth(clean(html)) == levels


@pytest.mark.parametrize(
    "html",
    [
        "<b>" * 12_000 + "x",
        "<blockquote><p>x</p>" * 3_000,
        "<ul><li>x" * 1_000,
        "<li><div><li><ul></div>" * 4_000,
        "<blockquote></bloc\u212aquote>" * 19_000 + "x",
        "<blockquote><p>x</p>" * (DEPTH + 1),
        "<dt><li>" * 20_000,
    ],
)
def test_deep_html_is_refused_with_the_limit(html: str) -> None:
    assert re.fullmatch(r"The HTML has more than \d+ elements in one another\.", said(html))


@pytest.mark.parametrize(
    ("html", "of_what"),
    [
        ("<br>" * (ELEMENTS + 1), "40,000 elements"),
        ("<P>1 < 2" * (ELEMENTS + 1), "40,000 elements"),
        ("<table>x" * (ELEMENTS // 2 + 1), "40,000 elements"),
        # A parser opens these again in each paragraph.
        ("".join(f"<i lang={n}>" for n in range(200)) + "<p>x" * 300, "40,000 elements"),
        ("<iframe src=https://a.example/></iframe>" * (EMBEDDED + 1), "films, players and frames"),
        ("<" * 1_048_576, "character references"),
        ("&lt;" * 60_001, "character references"),
        ("x>" * 60_001, "character references"),
        ("x\N{NO-BREAK SPACE}" * 400_000, "character references"),
    ],
    ids=lambda value: value[:30],
)
def test_what_costs_much_is_refused_with_the_limit(html: str, of_what: str) -> None:
    assert of_what in said(html)


def test_what_makes_a_letter_that_is_too_large_is_refused_before_it_is_published() -> None:
    body = ReleaseBody.read(release(body_html="å" * 1_000_000))
    with pytest.raises(InvalidInput, match="too large for many mailboxes"):
        preview(EXAMPLE_ROOM, EXAMPLE_URL, body)


@pytest.mark.parametrize(
    "html",
    [
        "<p>Hei" * 1_000,
        "<table>" + "<tr><td><font size=2>Hei</td></tr>" * 500 + "</table>",
        "<table>" + "<tr>" * 1 + "<td>Hei</td>" * 18_000 + "</table>",
        "<h3><a name=s1>Hei</h3>" * 500,
        "<ul>" + "<li><p>Hei" * 500 + "</ul>",
        "<font><p>Hei</font></p>" * 500,
        "<p>Hei<o:p></o:p></p>" * 1_000,
        "<div><b>Hei</b></div>" * 10_000,
        "<b><p>Hei</p><p>du</p></b>" * 5_000,
        "<ul><li>Hei<dl><dt>Jeg<dd>er her</dl></ul>" * 1_000,
        "<dt>Hei</dt><dd>du</dd><li>der</li>" * 2_000,
        "<!-- <div> --><p>Hei</p>" * 300,
    ],
    ids=lambda html: html[:30],
)
def test_what_people_write_is_accepted(html: str) -> None:
    assert said(html) == ""


PASTED = {
    "Word": """<p class="MsoNormal" style="margin-bottom:0cm"><span lang="NO-BOK" style="font-size:
12.0pt;mso-fareast-language:NO-BOK">Kommunen <b style="mso-bidi-font-weight:normal">vedtok</b> i dag
<o:p></o:p></span></p><!--[if !supportLists]--><p class=MsoListParagraph><span>·<span>&nbsp;</span>
</span>Et punkt<o:p></o:p></p><!--[endif]-->""",
    "Google Docs": """<b style="font-weight:normal;" id="docs-internal-guid-1"><p dir="ltr"><span
style="font-size:11pt">Kommunen vedtok i dag</span></p><br><ul><li dir="ltr" style="x">
<p dir="ltr" role="presentation"><span>Et punkt</span></p></li></ul></b>""",
    "Outlook": """<div><div><div><p class=MsoNormal>Hei<o:p></o:p></p></div></div><blockquote><table
border=0><tr><td><font face=Arial size=2>Sitert</font></td></tr></table></blockquote></div>""",
    "Gutenberg": """<!-- wp:paragraph --><p>Kommunen vedtok i dag</p><!-- /wp:paragraph --><!--
wp:image {"id":7} --><figure class="wp-block-image"><img src="https://a.example/7.jpg"
alt="Havna"/><figcaption>Havna</figcaption></figure><!-- /wp:image -->""",
    "TinyMCE": """<p>Kommunen&nbsp;vedtok <strong>i dag</strong></p><p>&nbsp;</p><ol><li>Et</li>
<li>To<ul><li>To a</li></ul></li></ol><table style="width:100%"><tbody><tr><td>1</td><td>2</td></tr>
</tbody></table>""",
}


@pytest.mark.parametrize("pasted", PASTED.values(), ids=PASTED)
@pytest.mark.parametrize("times", [1, 20, 300])
def test_what_editors_write_is_accepted_and_composed(pasted: str, times: int) -> None:
    body = ReleaseBody.read(release(body_html=pasted * times))
    assert preview(EXAMPLE_ROOM, EXAMPLE_URL, body).letters


def test_a_release_of_twenty_times_the_usual_length_is_accepted_and_composed() -> None:
    usual = release(body_html="<p>Bøttene er fulle, og folk plukker ennå.</p>" * 40)
    given = json.loads(SEED.read_text(encoding="utf-8")) if SEED.exists() else usual
    body = ReleaseBody.read({**given, "body_html": given["body_html"] * 20})
    assert preview(EXAMPLE_ROOM, EXAMPLE_URL, body).letters
