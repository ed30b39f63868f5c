"""Retention: who is remembered for how long, and what is left of them then."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from mailer.domain import publishers
from mailer.domain.followers import retention, subscriptions
from mailer.domain.followers.follower_csv import import_followers
from mailer.domain.publishers import PublisherDraft
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import Erased, Subscriber, Subscription
from mailer.storage.types import now
from tests.domain.conftest import TimePasses
from tests.support.press_room import EVIDENCE, KARI, OLA, SLUG, PressRoom

DAY = timedelta(days=1)


def reason(subscription_id: int) -> tuple[str | None, bool]:
    """Tell why a subscription has ended, and whether it still has a person."""
    with read_transaction() as session:
        row = session.get_one(Subscription, subscription_id)
        return row.ended_reason, row.subscriber_id is not None


def test_a_request_that_nobody_confirms_is_kept_for_thirty_days(
    room: PressRoom, time_passes: TimePasses
) -> None:
    one, other = room.sign_up(KARI), room.confirmed(OLA)
    time_passes(30 * DAY - timedelta(minutes=1))
    retention.apply_retention(room.settings)
    assert reason(one) == (None, True)
    time_passes(30 * DAY + timedelta(minutes=1))
    for _ in range(2):
        retention.apply_retention(room.settings)
    assert reason(one) == ("expired", False)
    assert reason(other) == (None, True)
    assert (room.count(Subscriber), room.count(Erased)) == (1, 0), "somebody else may have typed it"


def test_who_has_left_is_remembered_as_long_as_is_set(
    room: PressRoom, time_passes: TimePasses
) -> None:
    settings = room.settings.model_copy(update={"keep_ended_days": 60})
    one = room.confirmed(KARI)
    room.unsubscribe(one)
    time_passes(60 * DAY - timedelta(minutes=1))
    retention.apply_retention(settings)
    assert reason(one) == ("unsubscribed: page", True)
    time_passes(60 * DAY + timedelta(minutes=1))
    retention.apply_retention(settings)
    assert reason(one) == ("unsubscribed: page", False)
    assert room.count(Subscriber) == 0
    key = settings.erasure_key
    report = import_followers(SLUG, ["address", KARI], locales=("nb",), erasure_key=key)
    assert "only they may come back" in report.refused[2]
    assert subscriptions.resume(room.settings, one, EVIDENCE).ended


@pytest.mark.parametrize("other", ["open", "left lately"])
def test_who_has_something_else_here_is_remembered_with_all_of_it(
    room: PressRoom, time_passes: TimePasses, other: str
) -> None:
    publishers.add(PublisherDraft("fjellavisa", "Fjellavisa", "presse@example.org", "nn"))
    one = room.confirmed(KARI)
    room.unsubscribe(one)
    asked = room.sign_up(KARI)
    time_passes(729 * DAY)
    two = room.sign_up(KARI, slug="fjellavisa")
    subscriptions.confirm(room.settings, two, EVIDENCE)
    if other == "left lately":
        room.unsubscribe(two)
    time_passes(731 * DAY)
    retention.apply_retention(room.settings)
    assert reason(one) == ("unsubscribed: page", True)
    assert reason(asked) == ("expired", True)
    assert room.count(Erased) == 0


def test_without_a_key_people_go_without_a_hash(room: PressRoom, time_passes: TimePasses) -> None:
    one = room.sign_up(KARI)
    time_passes(31 * DAY)
    retention.apply_retention(room.settings.model_copy(update={"erasure_key": None}))
    assert reason(one) == ("expired", False)
    assert (room.count(Subscriber), room.count(Erased)) == (0, 0)


def test_a_crowd_goes_in_pieces_and_nobody_is_left_out(
    room: PressRoom, time_passes: TimePasses
) -> None:
    people = [
        {"id": number, "address": f"reader{number}@example.org", "created_at": now()}
        for number in range(1, 2_202)
    ]
    asked = [
        {
            "subscriber_id": person["id"],
            "publisher_id": room.publisher.id,
            "locale": "nb",
            "requested_at": now(),
        }
        for person in people
    ]
    with transaction() as session:
        session.execute(insert(Subscriber), people)
        session.execute(insert(Subscription), asked)
    time_passes(31 * DAY)
    retention.apply_retention(room.settings)
    assert (room.count(Subscriber), room.count(Erased)) == (0, 0)
    with read_transaction() as session:
        assert set(session.scalars(select(Subscription.ended_reason))) == {"expired"}
