"""Letters are sent as they were composed, and a release that harms what composes it is paused."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import delete, update

from mailer.config import TEMPLATES
from mailer.domain import publishers
from mailer.domain.followers import follower_csv
from mailer.errors import Killed
from mailer.mail import composer
from mailer.mail.compose import Made, Work
from mailer.mail.composer import Composer
from mailer.storage.database import transaction
from mailer.storage.models import ComposedLetter, Publisher, Release
from tests.fanout.press_room import FOLLOWERS, SendingRoom
from tests.processes import eventually
from tests.support.composers import ComposerHere, NoComposer, sleeping
from tests.support.press_room import SLUG

DEADLY = ("abort", "loop", "memory", "exception")


class Dying(ComposerHere):
    """Is killed at the first works that it gets."""

    def __init__(self, deaths: int) -> None:
        super().__init__(TEMPLATES)
        self._deaths = deaths

    def _make(self, work: Work) -> Made:
        self._deaths -= 1
        if self._deaths >= 0:
            raise Killed
        return super()._make(work)


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


def test_who_follows_in_another_language_after_acceptance_gets_theirs(room: SendingRoom) -> None:
    release_id = room.publish()
    assert {one.locale for one in room.rows(ComposedLetter)} == {"nb"}
    room.confirmed("eva@example.net", locale="en")
    room.drain()
    received = {one.recipient: one.content for one in room.relay.received}
    assert set(received) == {*FOLLOWERS, "eva@example.net"}
    assert b"Content-Language: nb, en" in received["eva@example.net"]
    assert room.receipt(release_id).accepted == len(FOLLOWERS) + 1


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


def test_who_waits_for_others_to_be_composed_is_not_paused(
    room: SendingRoom, fragile: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    release_id = room.publish()
    put_into_the_row(release_id, "<p>Skuta ligger ved kai.</p>")
    monkeypatch.setattr(composer, "_WAIT_SECONDS", 0.1)
    with ThreadPoolExecutor(2) as others:
        slow = [others.submit(fragile.read, "<p>sleep</p>") for _ in range(2)]
        children = eventually(
            lambda: sleeping() if len(sleeping()) == 2 else [], "two are composed"
        )
        with room.draining():
            eventually(lambda: room.receipt(release_id).total, "it is frozen")
            time.sleep(1)  # as long as it waits, nothing can be seen of that
            assert room.receipt(release_id).state == "sending"
            for child in children:
                os.kill(child, signal.SIGKILL)
        assert [type(one.exception()) for one in slow] == [Killed, Killed]
    assert room.receipt(release_id).accepted == len(FOLLOWERS)


@pytest.mark.parametrize(("deaths", "accepted"), [(1, len(FOLLOWERS)), (2, 0)])
def test_a_release_is_paused_when_its_composition_was_killed_twice(
    room: SendingRoom, monkeypatch: pytest.MonkeyPatch, deaths: int, accepted: int
) -> None:
    release_id = room.publish()
    put_into_the_row(release_id, "<p>Skuta ligger ved kai.</p>")
    monkeypatch.setattr(composer, "shared", Dying(deaths))
    room.drain()
    assert room.receipt(release_id).accepted == accepted


def test_a_row_that_cannot_be_read_pauses_its_release_alone(room: SendingRoom) -> None:
    poison, good = room.publish(), room.publish(title="Skuta er borte")
    unreadable(poison)
    room.drain()
    assert room.receipt(good).accepted == len(FOLLOWERS)
    assert room.receipt(poison).state == "paused"
    assert room.uncertain(poison) == set()


def test_poison_among_twenty_press_rooms_harms_nobody_else(
    empty_room: SendingRoom, fragile: Composer
) -> None:
    empty_room.adjust(connections=8)
    poisons = [*(f"<p>late-{word}</p>" for word in DEADLY), None]
    rooms = [replace(empty_room, publisher=publisher) for publisher in twenty()]
    for number, one in enumerate(rooms):
        people = [f"{name}{number}@example{one}.net" for name in "abcde" for one in range(2)]
        follower_csv.import_followers(
            one.publisher.slug, ["address", *people], locales=("nb", "nn", "en")
        )
    releases = [one.publish() for one in rooms]
    for release_id, poison in zip(releases, poisons, strict=False):
        if poison is None:
            unreadable(release_id)
        else:
            put_into_the_row(release_id, poison)
    empty_room.drain()
    found = [one.receipt(release_id) for one, release_id in zip(rooms, releases, strict=True)]
    assert [one.state for one in found] == ["paused"] * 5 + ["done"] * 15
    assert [one.accepted for one in found] == [0] * 5 + [10] * 15
    assert {one.uncertain for one in found} == {0}
    assert set(empty_room.received().values()) == {1}


def twenty() -> list[Publisher]:
    """Open twenty press rooms."""
    for number in range(20):
        draft = publishers.PublisherDraft(f"avis-{number}", "Avis", "presse@example.org", "nb")
        publishers.add(draft)
    return [publishers.find(f"avis-{number}") for number in range(20)]


def unreadable(release_id: int) -> None:
    """Put what is no release into its row."""
    with transaction() as session:
        session.execute(delete(ComposedLetter).where(ComposedLetter.release_id == release_id))
        made = update(Release).where(Release.id == release_id).values(content={"title": 1})
        session.execute(made)
