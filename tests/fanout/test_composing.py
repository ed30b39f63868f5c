"""Letters are sent as they were composed, and a release that harms what composes it is paused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import delete, update

from mailer.config import TEMPLATES
from mailer.domain import publishers
from mailer.mail import composer
from mailer.mail.composer import Composer
from mailer.storage.database import transaction
from mailer.storage.models import ComposedLetter, Release
from tests.fanout.press_room import FOLLOWERS, SendingRoom
from tests.support.composers import NoComposer, poisoned
from tests.support.press_room import SLUG

DEADLY = ("abort", "loop", "memory", "exception")


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Composer]:
    """The composer of this process, which some words harm."""
    with monkeypatch.context() as patched:
        broken = poisoned()
        patched.setattr(composer, "shared", broken)
        yield broken
    broken.close()


def nothing_is_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composer, "shared", NoComposer(TEMPLATES))


def put_into_the_row(release_id: int, html: str) -> None:
    """Change a release behind the back of what accepts it, and forget what was composed of it."""
    with transaction() as session:
        release = session.get_one(Release, release_id)
        release.content = {**release.content, "body_html": html}
        session.execute(delete(ComposedLetter).where(ComposedLetter.release_id == release_id))


def test_what_was_composed_at_acceptance_is_sent(
    room: SendingRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = room.publish(title="Skuta er hjemme")
    with monkeypatch.context() as patched:
        nothing_is_composed(patched)
        room.drain()
    second = room.correct(first, title="Skuta er borte")
    nothing_is_composed(monkeypatch)
    room.drain()
    assert room.receipt(second).accepted == len(FOLLOWERS)
    assert room.received() == dict.fromkeys(FOLLOWERS, 2)
    assert room.count(ComposedLetter) == 0


def test_a_retraction_is_sent_though_nothing_can_be_composed(
    room: SendingRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = room.publish()
    room.drain()
    nothing_is_composed(monkeypatch)
    last = room.retract(first, "Alt var feil.")
    room.drain()
    assert room.receipt(last).accepted == len(FOLLOWERS)


def test_a_press_room_that_has_changed_since_is_named_as_it_is_now(room: SendingRoom) -> None:
    release_id = room.publish()
    publishers.change(SLUG, {"name": "Havna"})
    room.drain()
    assert room.receipt(release_id).accepted == len(FOLLOWERS)
    assert all(b"Havna" in one.content for one in room.relay.received)


@pytest.mark.parametrize("word", DEADLY)
def test_a_release_that_harms_what_composes_it_is_paused_and_others_go_on(
    room: SendingRoom, fragile: Composer, word: str
) -> None:
    poison, good = room.publish(), room.publish(title="Skuta er borte")
    put_into_the_row(poison, f"<p>late-{word}</p>")
    room.drain()
    assert room.receipt(good).accepted == len(FOLLOWERS)
    paused = room.receipt(poison)
    assert (paused.state, paused.accepted, paused.waiting) == ("paused", 0, len(FOLLOWERS))
    assert "could not be composed" in str(paused.because)
    assert room.uncertain(poison) == set()
    assert room.letters("notice") == ["notice"]
    put_into_the_row(poison, "<p>Skuta ligger ved kai.</p>")
    room.resume(poison)
    room.drain()
    assert room.receipt(poison).accepted == len(FOLLOWERS)
    assert room.received() == dict.fromkeys(FOLLOWERS, 2)


def test_a_row_that_cannot_be_read_pauses_its_release_alone(room: SendingRoom) -> None:
    poison, good = room.publish(), room.publish(title="Skuta er borte")
    with transaction() as session:
        session.execute(delete(ComposedLetter).where(ComposedLetter.release_id == poison))
        session.execute(update(Release).where(Release.id == poison).values(content={"title": 1}))
    room.drain()
    assert room.receipt(good).accepted == len(FOLLOWERS)
    assert room.receipt(poison).state == "paused"
    assert room.uncertain(poison) == set()
