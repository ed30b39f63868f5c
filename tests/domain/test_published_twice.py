"""A system that makes a new reference at every save mails nobody twice (HTTP in, rows out)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from mailer.errors import PublishedAlready
from mailer.storage.database import transaction
from mailer.storage.models import Release
from tests.fanout.press_room import together
from tests.support.press_room import PressRoom

STORY: dict[str, Any] = {"title": "Skuta er hjemme", "body_html": "<p>Ved kai.</p>"}


def publish(room: PressRoom, reference: str, **changes: Any) -> int:
    """Publish the story under a reference, not to be sent again."""
    return room.publish(reference=reference, **{"again": False, **STORY, **changes})


@pytest.mark.parametrize(
    "times", [{}, {"hold_minutes": 5}, {"published_at": "2099-01-01T12:00:00+01:00"}]
)
def test_the_same_content_under_another_reference_is_refused_and_names_the_first(
    room: PressRoom, times: dict[str, Any]
) -> None:
    first = publish(room, "a")
    with pytest.raises(PublishedAlready, match=r"'a'.*again") as refusal:
        publish(room, "b", **times)
    assert refusal.value.release_id == first
    assert [release.reference for release in room.rows(Release)] == ["a"]


@pytest.mark.parametrize(
    "changes",
    [
        {"again": True},
        {"title": "Skuta er hjemme igjen"},
        {"body_html": "<p>Ved kai!</p>"},
        {"language": "nn"},
        {"keywords": ["skute"]},
        {"web_url": "https://oya.example/skuta"},
        {"notify": False},
    ],
)
def test_what_differs_or_is_asked_for_is_published(
    room: PressRoom, changes: dict[str, Any]
) -> None:
    publish(room, "a")
    room.publish(reference="b", **{"again": False, **STORY, **changes})
    assert len(room.rows(Release)) == 2


def test_what_was_asked_for_again_is_not_sent_a_third_time(room: PressRoom) -> None:
    publish(room, "a", again=True)
    with pytest.raises(PublishedAlready):
        publish(room, "b")


def test_the_same_call_again_is_the_same_release_with_and_without_again(room: PressRoom) -> None:
    first = publish(room, "a")
    assert publish(room, "a") == first
    assert room.publish(reference="a", again=True, **STORY) == first


def test_after_a_week_it_is_published(room: PressRoom) -> None:
    publish(room, "a")
    with transaction() as session:
        [release] = session.query(Release).all()
        release.created_at -= timedelta(days=7, seconds=1)
    assert publish(room, "b") != release.id


def test_of_calls_at_the_same_time_one_is_accepted(room: PressRoom) -> None:
    def attempt(reference: str) -> Callable[[], int | None]:
        def call() -> int | None:
            try:
                return publish(room, reference)
            except PublishedAlready:
                return None

        return call

    ids = together(*(attempt(f"r{number}") for number in range(8)))
    assert sum(one is not None for one in ids) == 1
    assert len(room.rows(Release)) == 1
