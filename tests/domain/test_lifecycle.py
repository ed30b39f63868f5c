"""The life of a release before it is fanned out: published once, scheduled, held, stopped."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from mailer.domain import publishers
from mailer.domain.releases import lifecycle, publishing
from mailer.domain.releases.release_body import ReleaseBody
from mailer.errors import Conflict, NotFound, ReferenceTaken
from mailer.storage.database import transaction
from mailer.storage.models import Release
from mailer.storage.types import now
from tests.domain.conftest import TimePasses
from tests.support.press_room import DRAFT, SLUG, PressRoom
from tests.support.releases import release


def publish(room: PressRoom, **changes: Any) -> Release:
    body = ReleaseBody.read(release(**changes))
    return publishing.publish(room.settings, publishers.find(SLUG), body)


def ahead(**time: float) -> str:
    return (now() + timedelta(**time)).isoformat()


def put(one: Release, state: str) -> None:
    """Bring a release into a state that only the fan-out can bring it into."""
    with transaction() as session:
        session.execute(update(Release).where(Release.id == one.id).values(state=state))


def test_the_same_content_again_is_the_same_release(room: PressRoom) -> None:
    first, again = publish(room), publish(room)
    assert again.id == first.id
    assert room.count(Release) == 1


def test_the_answer_stays_the_first_whatever_has_happened_since(room: PressRoom) -> None:
    first = publish(room, hold_minutes=10)
    lifecycle.stop(room.publisher, first.id)
    again = publish(room, hold_minutes=10)
    assert (again.id, again.initial_state) == (first.id, "held")


def test_the_answer_stays_the_first_when_its_time_has_come(
    room: PressRoom, time_passes: TimePasses
) -> None:
    moment = ahead(hours=1)
    publish(room, published_at=moment)
    time_passes(timedelta(hours=2))
    assert publish(room, published_at=moment).initial_state == "scheduled"


def test_other_content_under_the_same_reference_is_refused_by_name(room: PressRoom) -> None:
    first = publish(room)
    with pytest.raises(ReferenceTaken, match="correct that release") as refusal:
        publish(room, title="En annen nyhet")
    assert refusal.value.release_id == first.id
    assert room.count(Release) == 1


def test_the_first_content_stays(room: PressRoom) -> None:
    first = publish(room)
    with pytest.raises(ReferenceTaken):
        publish(room, title="En annen nyhet")
    assert lifecycle.find(room.publisher, first.id).content["title"] == release()["title"]


def test_another_press_room_may_use_the_same_reference(room: PressRoom) -> None:
    publishers.add(replace(DRAFT, slug="fjellavisa"))
    ours = publish(room)
    body = ReleaseBody.read(release(title="Rekordår i fjellet"))
    theirs = publishing.publish(room.settings, publishers.find("fjellavisa"), body)
    assert theirs.id != ours.id


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "sending"),
        ({"hold_minutes": 10}, "held"),
        ({"hold_minutes": 0}, "sending"),
        ({"published_at": ahead(days=1)}, "scheduled"),
        ({"published_at": ahead(days=1), "hold_minutes": 10}, "scheduled"),
        ({"published_at": ahead(days=-1)}, "sending"),
        ({"published_at": ahead(days=-1), "hold_minutes": 10}, "held"),
        ({"published_at": ahead(days=-3)}, "done"),
        ({"published_at": ahead(days=-3), "hold_minutes": 10}, "done"),
        ({"notify": False}, "done"),
        ({"notify": False, "hold_minutes": 10}, "done"),
    ],
)
def test_what_becomes_of_it_at_first(room: PressRoom, changes: dict[str, Any], state: str) -> None:
    one = publish(room, **changes)
    assert (one.state, one.initial_state) == (state, state)
    assert (one.finished_at is not None) == (state == "done")


@pytest.mark.parametrize(("own", "asked", "state"), [(10, None, "held"), (10, 0, "sending")])
def test_a_press_room_holds_its_releases_unless_one_says_otherwise(
    room: PressRoom, own: int, asked: int | None, state: str
) -> None:
    publishers.add(replace(DRAFT, slug="fjellavisa", hold_minutes=own))
    body = ReleaseBody.read(release(hold_minutes=asked))
    one = publishing.publish(room.settings, publishers.find("fjellavisa"), body)
    assert one.state == state


def test_a_hold_is_counted_from_the_call(room: PressRoom) -> None:
    one = publish(room, hold_minutes=10)
    assert one.starts_at == one.created_at + timedelta(minutes=10)


def test_a_scheduled_release_starts_at_its_moment_in_any_zone(room: PressRoom) -> None:
    one = publish(room, published_at="2199-05-17T12:00:00+02:00")
    assert one.starts_at == datetime(2199, 5, 17, 10, tzinfo=UTC)


@pytest.mark.parametrize("changes", [{"hold_minutes": 10}, {"published_at": ahead(days=1)}, {}])
def test_what_has_not_been_sent_is_stopped_at_once_and_for_good(
    room: PressRoom, changes: dict[str, Any]
) -> None:
    one = publish(room, **changes)
    for _ in range(2):
        assert lifecycle.stop(room.publisher, one.id).state == "stopped"
    with pytest.raises(Conflict, match="stopped cannot be resumed"):
        lifecycle.resume(room.settings, room.publisher, one.id)


def test_a_held_release_goes_out_when_told(room: PressRoom) -> None:
    one = publish(room, hold_minutes=10)
    for _ in range(2):
        resumed = lifecycle.resume(room.settings, room.publisher, one.id)
        assert resumed.state == "sending"
        assert resumed.starts_at < one.starts_at


def test_a_paused_release_goes_on_and_forgets_why_it_was_paused(room: PressRoom) -> None:
    one = publish(room)
    with transaction() as session:
        lifecycle.pause(session, one.id, "The relay answers 535.")
    assert lifecycle.find(room.publisher, one.id).paused_because == "The relay answers 535."
    resumed = lifecycle.resume(room.settings, room.publisher, one.id)
    assert (resumed.state, resumed.paused_because) == ("sending", None)


@pytest.mark.parametrize("state", ["scheduled", "done", "stopping", "stopped"])
def test_there_is_nothing_to_resume(room: PressRoom, state: str) -> None:
    one = publish(room)
    put(one, state)
    with pytest.raises(Conflict, match=f"is {state} cannot be resumed"):
        lifecycle.resume(room.settings, room.publisher, one.id)


def test_what_is_done_cannot_be_stopped(room: PressRoom) -> None:
    one = publish(room, notify=False)
    with pytest.raises(Conflict, match="done"):
        lifecycle.stop(room.publisher, one.id)


def test_the_release_of_another_press_room_is_not_there(room: PressRoom) -> None:
    publishers.add(replace(DRAFT, slug="fjellavisa"))
    one, other = publish(room, hold_minutes=10), publishers.find("fjellavisa")
    with pytest.raises(NotFound):
        lifecycle.stop(other, one.id)
    with pytest.raises(NotFound):
        lifecycle.resume(room.settings, other, one.id)
    assert lifecycle.find(room.publisher, one.id).state == "held"


@pytest.mark.parametrize("number", [0, -1, 4711, 2**63, 10**30])
def test_a_number_of_no_release_is_not_found(room: PressRoom, number: int) -> None:
    with pytest.raises(NotFound):
        lifecycle.find(room.publisher, number)
    with pytest.raises(NotFound):
        lifecycle.publisher_of(number)


def test_the_same_call_many_times_at_once_is_one_release(room: PressRoom) -> None:
    together = threading.Barrier(8)

    def call() -> int:
        with room.app.app_context():
            together.wait()
            return publish(room).id

    with ThreadPoolExecutor(8) as systems:
        calls = [systems.submit(call) for _ in range(8)]
    assert len({one.result() for one in calls}) == 1
    assert room.count(Release) == 1
