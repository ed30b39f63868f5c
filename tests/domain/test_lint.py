"""What an editor says about a release: every remark names its field, and a good one has none."""

from __future__ import annotations

from typing import Any

import pytest

from mailer.domain.releases.lint import SUBJECT_LENGTH, WORD_LENGTH, lint
from mailer.domain.releases.release_body import ReleaseBody
from tests.support.releases import RELEASE, release

TEXT = "<p>SØRØYA — Bøttene er fulle, og folk plukker ennå.</p>"
LONG = "a" * (WORD_LENGTH + 1)


def remarks(**changes: Any) -> list[tuple[str, str]]:
    """Proofread the release with some fields changed."""
    found = lint(ReleaseBody.read(release(**changes)))
    return [(remark.field, remark.message) for remark in found]


def picture(alt: str) -> dict[str, Any]:
    """Write the release's picture with another description."""
    return {**RELEASE["image"], "alt": alt}


def test_a_good_release_leaves_nothing_to_say() -> None:
    assert remarks() == []


@pytest.mark.parametrize(
    ("changes", "field", "word"),
    [
        ({"title": f"{'Blåbær ' * 10}igjen"}, "title", "75 characters"),
        ({"title": LONG}, "title", "too long"),
        ({"lead": f"Dette er {LONG}."}, "lead", LONG[:60]),
        ({"body_html": f"{TEXT}<p>{LONG}</p>"}, "body_html", "too long"),
        ({"body_html": f"{TEXT}<p><b>{LONG[:20]}</b>{LONG[20:]}</p>"}, "body_html", "too long"),
        ({"image": {**RELEASE["image"], "url": "http://a.example/b.jpg"}}, "image.url", "http"),
        ({"image": {**RELEASE["image"], "caption": LONG}}, "image.caption", "too long"),
        ({"source": {"text": "Ås", "url": "HTTP://a.example/"}}, "source.url", "https://"),
        ({"web_url": "http://a.example/nytt"}, "web_url", "http://a.example/nytt"),
        (
            {"documents": [*RELEASE["documents"], {"title": "a", "url": "http://a.example/"}]},
            "documents.1.url",
            "https://",
        ),
        ({"body_html": f'{TEXT}<a href="http://a.example/">a</a>'}, "body_html", "http://a.exam"),
        ({"body_html": f'{TEXT}<a href="https://a.example/"> </a>'}, "body_html", "https://a.exa"),
        ({"body_html": f"{TEXT}<a>a</a>"}, "body_html", "nowhere"),
        ({"body_html": f'{TEXT}<img src="https://a.example/b.jpg">'}, "body_html", "b.jpg"),
        ({"body_html": f'{TEXT}<img src="https://a.example/b" alt="b.png">'}, "body_html", "a.ex"),
        ({"body_html": "<p>Se bildet.</p>"}, "body_html", "hardly any text"),
    ],
)
def test_a_remark_names_its_field_and_what_it_is_about(
    changes: dict[str, Any], field: str, word: str
) -> None:
    [(named, message)] = remarks(**changes)
    assert named == field
    assert word in message
    assert message.endswith(".")


@pytest.mark.parametrize(
    "alt", ["bilde", "Foto:", "IMAGE", "blabaer.jpg", "IMG_0042", "DSC 12", "7", "skjermbilde.PNG"]
)
def test_a_description_that_says_nothing_is_none(alt: str) -> None:
    [(field, _)] = remarks(image=picture(alt))
    assert field == "image.alt"


@pytest.mark.parametrize("alt", ["Bilde av Kari", "Kari", "熊", "Ordfører Ås, 2026", "Logo: Fjord"])
def test_a_description_that_says_something_is_left_alone(alt: str) -> None:
    assert remarks(image=picture(alt)) == []


def test_many_alike_are_one_remark_that_counts_them() -> None:
    html = TEXT + "".join(f'<a href="http://a.example/{one}">a</a>' for one in range(4))
    [(_, message)] = remarks(body_html=html)
    assert "http://a.example/0, and 3 more" in message


@pytest.mark.parametrize(
    "html",
    [
        f'{TEXT}<a href="https://a.example/"><img src="https://a.example/b" alt="Kari"></a>',
        f'{TEXT}<a href="mailto:kari@example.org">Kari</a> <a href="tel:+4700000000">ring</a>',
        f"{TEXT}<p>{'北京市' * 40}</p><p>{'สวัสดี' * 20}</p>",
        f"<table><tr><td>{LONG[:30]}</td><td>{LONG[:30]}</td></tr></table>",
        f"<p>{LONG[:30]}<br>{LONG[:30]}</p>",
    ],
)
def test_what_is_fine_is_left_alone(html: str) -> None:
    assert remarks(body_html=html) == []


def test_a_subject_of_the_usual_length_is_left_alone() -> None:
    assert remarks(title=("Blå bær " * 10)[:SUBJECT_LENGTH].strip()) == []
