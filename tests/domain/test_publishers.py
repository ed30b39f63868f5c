"""Press rooms and their API keys."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from mailer.domain import publishers
from mailer.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthorized
from mailer.storage.database import read_transaction
from mailer.storage.models import ApiKey, Publisher
from tests.support.press_room import DRAFT, SLUG, PressRoom

OTHER = replace(DRAFT, slug="fjellavisa")


def test_a_new_press_room_comes_with_a_key_that_publishes(room: PressRoom) -> None:
    key = publishers.add(OTHER)
    assert publishers.authenticate(key, "publish").slug == OTHER.slug
    assert publishers.authenticate(key, "read").slug == OTHER.slug


def test_a_second_key_does_not_end_the_first(room: PressRoom) -> None:
    first, second = publishers.add(OTHER), publishers.add_key(OTHER.slug)
    assert first != second
    for key in (first, second):
        assert publishers.authenticate(key, "publish").slug == OTHER.slug


def test_a_key_for_reading_reads(room: PressRoom) -> None:
    key = publishers.add_key(SLUG, "read")
    assert publishers.authenticate(key, "read").slug == SLUG


def test_a_key_for_reading_does_not_publish(room: PressRoom) -> None:
    key = publishers.add_key(SLUG, "read")
    with pytest.raises(Forbidden):
        publishers.authenticate(key, "publish")


@pytest.mark.parametrize("key", [None, "", "mailer_", "mailer_" + "x" * 43, "\udcff", "æ", "a\0b"])
def test_what_is_no_key_opens_nothing(room: PressRoom, key: str | None) -> None:
    with pytest.raises(Unauthorized):
        publishers.authenticate(key, "read")


def test_a_key_with_a_letter_more_or_less_opens_nothing(room: PressRoom) -> None:
    key = publishers.add_key(SLUG)
    for wrong in (key[:-1], key + "A", key.upper()):
        with pytest.raises(Unauthorized):
            publishers.authenticate(wrong, "read")


def test_the_database_does_not_know_the_key(room: PressRoom) -> None:
    secret = publishers.add_key(SLUG).removeprefix("mailer_")
    with read_transaction() as session:
        rows = session.execute(select(ApiKey.__table__)).all()
    assert secret not in str(rows)


def test_a_key_for_a_press_room_that_is_not_there(room: PressRoom) -> None:
    with pytest.raises(NotFound):
        publishers.add_key("nobody")


def test_a_slug_belongs_to_one_press_room(room: PressRoom) -> None:
    with pytest.raises(Conflict, match=SLUG):
        publishers.add(DRAFT)
    assert room.count(Publisher) == 1
    assert room.count(ApiKey) == 1


@pytest.mark.parametrize(
    "slug", ["", "A", "-a", "a-", "a b", "a/b", "å", "a" * 81, "a\n", "api", "static", "healthz"]
)
def test_a_slug_is_a_plain_word_and_none_of_ours(room: PressRoom, slug: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        publishers.add(replace(OTHER, slug=slug))
    assert set(refusal.value.problems) == {"slug"}


def test_no_page_of_ours_can_be_hidden_by_a_press_room(room: PressRoom) -> None:
    """Every first word of a path that is not a slug is refused as one."""
    words = {rule.rule.split("/")[1] for rule in room.app.url_map.iter_rules()}
    for word in words - {"<slug>"}:
        with pytest.raises(InvalidInput):
            publishers.add(replace(OTHER, slug=word))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\0b", "a\u202eb", "\ud800", "x" * 201])
def test_a_name_is_one_line_that_fits(room: PressRoom, name: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        publishers.add(replace(OTHER, name=name))
    assert set(refusal.value.problems) == {"name"}


@pytest.mark.parametrize(
    "sender", ["", "presse", "Presse <presse@example.org>", "a@b.no\nBcc: c", "bjørn@example.org"]
)
def test_the_sender_is_an_address(room: PressRoom, sender: str) -> None:
    with pytest.raises(InvalidInput):
        publishers.add(replace(OTHER, from_address=sender))
    assert room.count(Publisher) == 1


def test_a_sender_at_a_domain_beyond_ascii_becomes_what_mail_servers_know(room: PressRoom) -> None:
    publishers.add(replace(OTHER, from_address="Presse@Øya.Example"))
    assert publishers.find(OTHER.slug).from_address == "presse@xn--ya-kka.example"


@pytest.mark.parametrize(
    "website", ["javascript:alert(1)", "example.org", "https://a b", "https://" + "x" * 2_000]
)
def test_the_website_is_an_address_on_the_web_that_fits(room: PressRoom, website: str) -> None:
    """It becomes a link in every letter."""
    with pytest.raises(InvalidInput):
        publishers.add(replace(OTHER, website_url=website))
