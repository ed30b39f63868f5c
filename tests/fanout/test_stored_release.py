"""A release that another version of the service stored is shown, sent and retracted as well."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete

from mailer.domain.releases.stored_release import read_story
from mailer.storage.database import transaction
from mailer.storage.models import ComposedLetter, Release
from mailer.storage.types import now
from tests.fanout.press_room import FOLLOWERS, SendingRoom
from tests.support.press_room import SLUG
from tests.support.releases import release

NEEDED = ("language", "title", "body_html")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)

Stored = dict[str, Any]


def newer(content: Stored) -> Stored:
    """Add what a later version might store, at each level."""
    contacts = [one | {"pronouns": None} for one in content["contacts"]]
    return content | {"summary": None, "layout": {"columns": 2}, "contacts": contacts}


def older(content: Stored) -> Stored:
    """Leave out everything that a version may have begun to store after the first."""
    return {name: content[name] for name in (*NEEDED, "reference")}


def stricter(content: Stored) -> Stored:
    """Break rules of today: lengths, addresses, elements, and numbers of things."""
    return content | {
        "title": "Skuta " * 60,
        "web_url": "museum",
        "keywords": ["skip"] * 60,
        "body_html": '<p class="x">Skuta <u>ligger</p><center>ved kai</center><unknown>',
        "contacts": [{"name": "", "email": "no address"}],
    }


def other_types(content: Stored) -> Stored:
    """Give all that can be left out another type."""
    return {name: value if name in (*NEEDED, "reference") else 7 for name, value in content.items()}


KINDS = (newer, older, stricter, other_types)


def store(release_id: int, change: Callable[[Stored], Stored]) -> None:
    """Change what is stored of a release, and forget what was composed of it."""
    with transaction() as session:
        row = session.get_one(Release, release_id)
        row.content = change(row.content)
        session.execute(delete(ComposedLetter).where(ComposedLetter.release_id == release_id))


def pages(room: SendingRoom, *ids: int) -> Sequence[int]:
    """Ask for every page that shows these releases; returns the status of each."""
    paths = (f"/{SLUG}/", f"/{SLUG}/feed.atom", *(f"/{SLUG}/{one}" for one in ids))
    return [room.client.get(path).status_code for path in paths]


@pytest.mark.parametrize("change", KINDS)
def test_what_another_version_stored_is_shown_sent_and_retracted(
    room: SendingRoom, change: Callable[[Stored], Stored]
) -> None:
    one = room.publish(**release(reference="one", published_at=None))
    store(one, change)
    assert pages(room, one) == [200, 200, 200]
    room.drain()
    assert room.receipt(one).accepted == len(FOLLOWERS)
    last = room.retract(one, "Alt var feil.")
    assert room.retract(one, "Alt var feil.") == last
    room.drain()
    assert room.receipt(last).accepted == len(FOLLOWERS)
    assert room.received() == dict.fromkeys(FOLLOWERS, 2)
    assert pages(room, one, last) == [200, 200, 200, 200]


@pytest.mark.parametrize("change", KINDS)
def test_what_another_version_stored_is_corrected(
    room: SendingRoom, change: Callable[[Stored], Stored]
) -> None:
    one = room.publish(reference="one")
    room.drain()
    store(one, change)
    better = release(reference="one", published_at=None)
    answer = room.call("POST", f"/api/v1/releases/{one}/correct", json=better)
    assert answer.status_code == 202
    room.drain()
    assert room.receipt(answer.get_json()["id"]).accepted == len(FOLLOWERS)


def test_what_cannot_be_read_at_all_harms_no_other_page(room: SendingRoom) -> None:
    one, other = room.publish(), room.publish(title="Skuta er borte")
    for nothing in ({}, {"title": 1}, ["title"], "title"):
        store(one, lambda _, nothing=nothing: nothing)  # type: ignore[misc]
        assert pages(room, one, other) == [200, 200, 404, 200]
    assert "Skuta er borte" in room.client.get(f"/{SLUG}/").text


@given(st.dictionaries(st.sampled_from(sorted(release())) | st.text(max_size=9), JSON))
def test_no_field_that_can_be_left_out_makes_a_story_unreadable(fields: Stored) -> None:
    needed = dict.fromkeys(NEEDED, "nb")
    story = read_story(json.loads(json.dumps(fields)) | needed, now())
    assert (story.language, story.title, story.body_html) == ("nb", "nb", "nb")
