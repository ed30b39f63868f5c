"""A preview over HTTP: the whole letter in every language, and nothing is stored."""

from __future__ import annotations

import socket

import pytest

from mailer.mail.locales import available
from mailer.storage.database import read_transaction
from mailer.storage.models import Release
from tests.api.problems import problem
from tests.support.press_room import DRAFT, SLUG, PressRoom
from tests.support.publishing_system import RELEASES
from tests.support.releases import RELEASE, release

PREVIEW = f"{RELEASES}/preview"


def test_a_preview_is_the_letter_in_every_language(shared_room: PressRoom) -> None:
    answer = shared_room.call("POST", PREVIEW, json=RELEASE)
    assert answer.status_code == 200
    told = answer.get_json()
    assert set(told["letters"]) == set(available())
    assert told["warnings"] == []
    for letter in told["letters"].values():
        assert letter["subject"] == RELEASE["title"]
        assert RELEASE["lead"] in letter["html"]
        assert RELEASE["lead"] in letter["text"]
        assert letter["eml"].startswith(f'From: "{DRAFT.name}" <{DRAFT.from_address}>\r\n')
        assert letter["html_octets"] == len(letter["html"].encode())
        assert letter["message_octets"] == len(letter["eml"].encode())


def test_what_readers_would_stumble_over_is_said_field_by_field(shared_room: PressRoom) -> None:
    long, clear = "Rekordår for blåbær " * 5, "http://example.org/blabaer"
    told = shared_room.call("POST", PREVIEW, json=release(title=long, web_url=clear)).get_json()
    assert [one["field"] for one in told["warnings"]] == ["title", "web_url"]
    assert all(one["message"].endswith(".") for one in told["warnings"])


def test_nothing_is_stored(room: PressRoom) -> None:
    for _ in range(2):
        assert room.call("POST", PREVIEW, json=RELEASE).status_code == 200
    with room.app.app_context(), read_transaction() as session:
        assert session.query(Release).count() == 0


def test_what_would_not_be_published_is_not_shown(shared_room: PressRoom) -> None:
    told = problem(shared_room.call("POST", PREVIEW, json=release(title="", colour="blue")), 422)
    assert {one["field"] for one in told["errors"]} == {"title", "colour"}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"title": "\\u0000"}'])
def test_what_is_no_release_is_a_problem(shared_room: PressRoom, body: bytes) -> None:
    answer = shared_room.call("POST", PREVIEW, data=body, content_type="application/json")
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code)


@pytest.mark.slow
def test_the_largest_release_is_shown_too(shared_room: PressRoom) -> None:
    html = "<p>Bøttene er fulle.</p>" * 40_000
    answer = shared_room.call("POST", PREVIEW, json=release(body_html=html))
    assert answer.status_code == 200
    assert [one["field"] for one in answer.get_json()["warnings"]] == ["body_html"]


def test_no_address_in_a_release_is_asked_for_anything(shared_room: PressRoom) -> None:
    """It may lead to what only our machine reaches, such as http://169.254.169.254/."""
    with socket.create_server(("127.0.0.1", 0)) as inside:
        url = f"http://127.0.0.1:{inside.getsockname()[1]}/"
        everywhere = release(
            body_html=f'<p><img src="{url}" alt="x"><a href="{url}">x</a></p>',
            image={"url": url, "alt": "x"},
            images=[{"url": url, "alt": "x"}],
            source={"text": "x", "url": url},
            documents=[{"title": "x", "url": url}],
            web_url=url,
        )
        assert shared_room.call("POST", PREVIEW, json=everywhere).status_code == 200
        published = shared_room.post_release(**everywhere)
        assert published.status_code == 202
        assert (
            shared_room.app.test_client().get(f"/{SLUG}/{published.get_json()['id']}").status_code
        )
        inside.setblocking(False)
        with pytest.raises(BlockingIOError):
            inside.accept()
