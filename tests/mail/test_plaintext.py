"""The HTML of a story becomes text with nothing lost."""

from __future__ import annotations

import re

import nh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.mail.html.plaintext import WIDTH, plain_text, wrap


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One\n  two</p><p>Three</p>", "One two\n\nThree"),
        ("<h2>Head</h2><p>Body</p>", "Head\n\nBody"),
        ("One<br>two", "One\ntwo"),
        ("<p>a<strong>b</strong> <em>c</em></p>", "ab c"),
        ("<p>5 &lt; 6 &amp; 7</p>", "5 < 6 & 7"),
        ("<p>10\u00a0000</p>", "10\u00a0000"),
        ("<ul><li>a</li><li>b</li></ul><p>c</p>", "- a\n- b\n\nc"),
        ("<ol><li>a</li><li><p>b</p></li></ol>", "1. a\n2. b"),
        ("<ul><li>a<ol><li>b</li></ol></li><li>c</li></ul>", "- a\n  1. b\n- c"),
        ("<ul><li>a</li></ul><ol><li>b</li></ol>", "- a\n\n1. b"),
        ("<p>a</p><blockquote><p>b</p></blockquote><p>c</p>", "a\n\n    b\n\nc"),
        (
            "<table><thead><tr><th>A</th><th>B</th></tr></thead>"
            "<tbody><tr><td>1</td><td><p>2</p></td></tr></tbody></table>",
            "A | B\n1 | 2",
        ),
        (
            '<figure><img src="https://x.example/i" alt="Sea"><figcaption>At sea</figcaption>'
            "</figure>",
            "[Sea]\n\nAt sea",
        ),
        ('<p><a href="https://x.example/">https://x.example/</a>.</p>', "https://x.example/."),
        ('<p><a href="mailto:a@x.example">a@x.example</a></p>', "a@x.example"),
        (
            '<p>See <a href="https://x.example/1">this</a>, <a href="https://x.example/2">that'
            '</a> and <a href="https://x.example/1">this</a>.</p>',
            "See this [1], that [2] and this [1].\n\n"
            "[1] https://x.example/1\n[2] https://x.example/2",
        ),
        ("", ""),
        ("<p> </p><ul></ul>", ""),
    ],
)
def test_elements_keep_their_shape(html: str, text: str) -> None:
    assert plain_text(html) == text


def test_lines_end_at_72_columns_and_long_words_stay_whole() -> None:
    text = wrap(f"{'word ' * 40}{'x' * 100} {'word ' * 3}")
    assert [line for line in text.split("\n") if len(line) > 72] == ["x" * 100]
    assert wrap("w" * 70 + " more", indent="   ", bullet=" - ") == f" - {'w' * 70}\n   more"


@given(st.text(alphabet="<>/abp uliotr=\"'&;#x0\n") | st.text())
def test_whatever_the_sanitiser_lets_through_is_read(html: str) -> None:
    safe = nh3.clean(html, tags={"p", "ul", "ol", "li", "blockquote", "br", "table", "tr", "td"})
    shown = re.sub(r"<[^>]*>", " ", safe)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", "\u00a0"), ("&amp;", "&")):
        shown = shown.replace(entity, character)
    letters = [c for c in shown if not c.isspace()]
    remaining = iter(plain_text(safe))
    assert all(letter in remaining for letter in letters)


def test_a_quotation_in_many_others_leaves_room_for_its_text() -> None:
    text = plain_text("<blockquote>" * 50 + "<p>" + "Et ord. " * 20 + "</p>")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert len(text.splitlines()) <= 20 * len("Et ord. ") / (WIDTH / 2) + 2
