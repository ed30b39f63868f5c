"""What no mail client shows becomes a link to it, and hides nothing that is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.mail.html.sanitize import clean, linked, refused
from tests.mail.test_sanitize import pages
from tests.processes import PATIENCE_SECONDS

FILM = "https://film.example/overfarten"
LINK = f'<a href="{FILM}">{FILM}</a>'

embeds = st.sampled_from(
    [
        f'<iframe src="{FILM}"></iframe>',
        f"<video><source src={FILM}>Film</video>",
        f"<object data={FILM}><embed src={FILM}></object>",
        "<iframe srcdoc=a>",
        "<audio>",
        "</video>",
    ]
)


@pytest.mark.parametrize(
    "embedded",
    [
        f'<iframe src="{FILM}" width="560" allowfullscreen></iframe>',
        f"<IFRAME SRC={FILM}>Nettleseren din viser ikke rammer.</IFRAME>",
        f'<video src="{FILM}" controls poster="https://film.example/a.jpg"></video>',
        f'<video controls><source src="{FILM}" type="video/mp4">Din nettleser …</video>',
        f'<audio src="{FILM}"></audio>',
        f'<embed src="{FILM}" type="application/pdf">',
        f'<object data="{FILM}"><p>Her var en film.</p></object>',
        f'<object><param name="movie" value="a"><embed src="{FILM}"></object>',
        f'<iframe src="{FILM.removeprefix("https:")}"></iframe>',
    ],
)
def test_what_no_mail_client_shows_becomes_a_link(embedded: str) -> None:
    html = linked(f"<p>Før.</p>{embedded}<p>Etter.</p>")
    assert refused(html) == []
    assert clean(html) == f"<p>Før.</p><p>{LINK}</p><p>Etter.</p>"


def test_the_link_is_called_what_the_thing_is_called() -> None:
    html = linked(f"<iframe src='{FILM}' title='Film:\n «Solbris» & <em>vi</em>'></iframe>")
    assert (
        clean(html) == f'<p><a href="{FILM}">Film: «Solbris» &amp; &lt;em&gt;vi&lt;/em&gt;</a></p>'
    )


@pytest.mark.parametrize("around", ["p", "h2", "strong", "figcaption"])
def test_within_a_line_it_stays_a_part_of_the_line(around: str) -> None:
    html = f"<{around}>Se <iframe src='{FILM}'></iframe> nå</{around}>"
    assert clean(linked(html)) == f"<{around}>Se {LINK} nå</{around}>"


def test_within_a_link_there_is_no_second_one() -> None:
    html = f"<p><a href='https://a.example'><video src='{FILM}'></video></a></p>"
    assert clean(linked(html)) == f'<p><a href="https://a.example">{FILM}</a></p>'


@pytest.mark.parametrize(
    "html",
    [
        "<iframe srcdoc='a'></iframe>",
        "<iframe src='javascript:a()'></iframe>",
        "<iframe src='data:text/html,a'></iframe>",
        "<iframe src='/presserom'></iframe>",
        "<video><source src='ftp://a.example/film'></video>",
        "<object></object>",
        "<embed>",
    ],
)
def test_without_an_address_on_the_web_it_is_refused(html: str) -> None:
    tag = html.partition(" ")[0].partition(">")[0].strip("<>")
    assert f"<{tag}>" in refused(linked(html))


@pytest.mark.parametrize("tag", ["iframe", "video", "audio"])
@pytest.mark.parametrize("inside", ["<script>a()</script>", "<form>", "<p onclick=a()>"])
def test_nothing_that_is_refused_hides_inside(tag: str, inside: str) -> None:
    listed = refused(inside)
    assert listed
    found = refused(linked(f"<{tag} src='{FILM}'>{inside}</{tag}>"))
    assert set(listed) <= set(found)


def test_what_would_run_with_it_is_refused() -> None:
    assert "onload=" in refused(linked(f"<iframe src='{FILM}' onload='a()'></iframe>"))


@given(st.lists(st.one_of(pages, embeds), max_size=5).map("".join))
def test_whatever_comes_linking_twice_changes_nothing_more(html: str) -> None:
    assert clean(linked(linked(html))) == clean(linked(html))


@given(pages)
def test_a_text_without_such_things_is_left_as_it_is(html: str) -> None:
    if "<iframe" not in html.lower():
        assert linked(html) == html


@pytest.mark.processes
@pytest.mark.parametrize(
    "piece", ["<iframe>", f"<iframe src={FILM}><a ", f"<video src={FILM}>", "<p><object>"]
)
def test_the_longest_text_is_linked_before_anyone_loses_patience(piece: str) -> None:
    html = (piece * 300_000)[:300_000]
    judging = f"from mailer.mail.html.sanitize import linked; linked({html!r})"
    subprocess.run(
        [sys.executable, "-"], input=judging.encode(), timeout=PATIENCE_SECONDS, check=True
    )
