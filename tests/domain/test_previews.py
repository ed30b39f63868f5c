"""A preview is the letter as a recipient gets it, with links that open nothing."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from typing import Any

import pytest

from mailer.config import Settings
from mailer.domain.releases.previews import EXAMPLE_ROOM, EXAMPLE_URL, Preview, preview
from mailer.domain.releases.release_body import ReleaseBody
from mailer.domain.tokens import Purpose, Tokens
from mailer.errors import InvalidLink
from mailer.mail.locales import available
from tests.mail.conftest import parse, part
from tests.service import contract
from tests.support.releases import RELEASE, release


def shown(**changes: Any) -> Preview:
    """Preview the release with some fields changed."""
    return preview(EXAMPLE_ROOM, EXAMPLE_URL, ReleaseBody.read(release(**changes)))


def test_every_locale_is_shown() -> None:
    assert tuple(shown().letters) == available()


@pytest.mark.parametrize("locale", available())
def test_what_is_shown_is_what_the_message_says(locale: str) -> None:
    letter = shown().letters[locale]
    message = message_from_bytes(letter.message, policy=policy.default)
    assert message["Subject"] == letter.subject == RELEASE["title"]
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert RELEASE["lead"] in letter.text
    assert RELEASE["lead"] in letter.html
    assert f'lang="{locale}"' in letter.html
    assert letter.html_octets == len(letter.html.encode())


@pytest.mark.parametrize("purpose", ["unsubscribe", "one-click"])
def test_its_links_open_nothing(purpose: Purpose) -> None:
    environment = contract(database_url="sqlite:///none", redis_url="", smtp_url="smtp://127.0.0.1")
    links = Tokens(Settings.from_environment(environment))
    letter = shown().letters["nb"]
    tokens = re.findall(rf"/{purpose}/([\w.-]+)", letter.text + letter.message.decode())
    for token in tokens:
        with pytest.raises(InvalidLink):
            links.read(purpose, token)
    assert tokens


def test_it_shows_what_a_mail_client_shows() -> None:
    letter = shown().letters["nb"]
    message = parse(letter.message)
    assert letter.subject == message["Subject"]
    assert letter.text == part(message, "plain")
    assert letter.html == part(message, "html")


def test_it_is_signed_by_nobody() -> None:
    assert b"DKIM-Signature" not in shown().letters["nb"].message


def test_a_letter_that_gmail_would_cut_is_said_to_be_too_large() -> None:
    [remark] = shown(body_html="<p>Bøttene er fulle av bær.</p>" * 3_000).warnings
    assert remark.field == "body_html"
    assert "Gmail" in remark.message


def test_what_an_editor_would_say_is_there() -> None:
    [remark] = shown(web_url="http://example.org/blabaer").warnings
    assert remark.field == "web_url"
