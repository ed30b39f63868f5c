"""The HTML of a story fits its column, whatever it holds."""

from __future__ import annotations

import pytest
from hypothesis import given

from mailer.mail.html.sanitize import clean
from mailer.mail.html.width import fit_to_column
from tests.mail.test_sanitize import Reader, pages

URL = "https://museet.example/a.jpg"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('width="1600" height="1067"', ' alt="" width="520" height="347"'),
        ('width="1600"', ' alt="" width="520"'),
        ('width="300" height="200"', ' alt="" width="300" height="200"'),
        ('height="4000"', ' alt=""'),
        ('width="100%" height="auto"', ' alt=""'),
        ('alt="Skuta"', ' alt="Skuta"'),
    ],
)
def test_a_picture_is_no_wider_than_the_column(said: str, shown: str) -> None:
    assert fit_to_column(clean(f'<img src="{URL}" {said}>')) == f'<img src="{URL}"{shown}>'


def test_a_table_is_put_where_it_can_scroll() -> None:
    table = "<table><tbody><tr><td>1</td></tr></tbody></table>"
    assert fit_to_column(table) == f'<div class="wide" tabindex="0">{table}</div>'


def test_what_an_attribute_says_is_no_element() -> None:
    html = clean(f'<img src="{URL}" alt="<table> </table> &quot;<img>">')
    assert fit_to_column(html) == html


@given(pages)
def test_whatever_comes_nothing_is_lost_and_every_picture_has_its_text(html: str) -> None:
    before, after = Reader(clean(html)).seen, Reader(fit_to_column(clean(html))).seen
    assert [tag for tag, _ in before] == [tag for tag, _ in after if tag != "div"]
    assert all("alt" in attributes for tag, attributes in after if tag == "img")
