"""Freezing: who is in the audience of a release, and how it is cut into batches."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from mailer.domain import publishers
from mailer.fanout.batches import batch_size
from mailer.fanout.freeze import freeze_next
from mailer.storage.database import transaction
from mailer.storage.models import Batch, BatchMembers, Release
from mailer.storage.types import now
from tests.fanout.press_room import (
    ADA,
    BOB,
    CAI,
    DAG,
    EVA,
    FOLLOWERS,
    SendingRoom,
    crowd,
    together,
)


def test_only_who_has_confirmed_and_stayed_and_exists_is_frozen(room: SendingRoom) -> None:
    room.change_subscription(BOB, confirmed_at=None)
    room.leave(CAI)
    room.suppress(DAG)
    release_id = room.freeze()
    members = [one for batch in room.rows(BatchMembers) for one in batch.ids]
    assert members == [room.subscription(ADA).id, room.subscription(EVA).id]
    assert room.receipt(release_id).total == 2


def test_members_are_sorted_and_each_is_in_one_batch(room: SendingRoom) -> None:
    room.freeze(connections=1)
    batches = room.rows(Batch)
    assert [batch.size for batch in batches] == [2, 2, 1]
    pieces = [batch.ids for batch in room.rows(BatchMembers)]
    assert [one for piece in pieces for one in piece] == sorted(
        room.subscription(one).id for one in FOLLOWERS
    )
    assert [(one.lowest, one.highest) for one in batches] == [(one[0], one[-1]) for one in pieces]


@pytest.mark.parametrize(
    ("total", "connections", "size"),
    [
        (0, 16, 1),
        (1, 1, 1),
        (5, 1, 2),
        (64, 16, 1),
        (65, 16, 2),
        (999, 16, 16),
        (1_020, 16, 17),
        (4_000, 1, 1_000),
        (4_000, 2, 1_000),
        (12_800, 41, 100),
        (25_600, 129, 100),
        (60_001, 16, 1_000),
        (10_000_000, 16, 1_000),
    ],
)
def test_a_connection_has_four_batches_or_two_where_there_are_many(
    total: int, connections: int, size: int
) -> None:
    assert batch_size(total, connections) == size


def test_a_release_without_an_audience_is_done_at_once(empty_room: SendingRoom) -> None:
    release_id = empty_room.publish()
    empty_room.drain()
    receipt = empty_room.receipt(release_id)
    assert (receipt.state, receipt.total) == ("done", 0)
    assert not empty_room.rows(Batch)


def test_two_drains_that_freeze_at_the_same_time_freeze_once(empty_room: SendingRoom) -> None:
    empty_room.add_followers(*crowd(200))
    release_id = empty_room.publish()

    def freeze() -> int | None:
        with transaction() as session:
            return freeze_next(session, connections=4)

    assert sorted(map(str, together(*[freeze] * 4))) == ["1", "None", "None", "None"]
    assert empty_room.receipt(release_id).total == 200
    members = Counter(one for batch in empty_room.rows(BatchMembers) for one in batch.ids)
    assert len(members) == 200
    assert set(members.values()) == {1}


def test_one_without_an_audience_does_not_hold_up_the_next(room: SendingRoom) -> None:
    publishers.add(publishers.PublisherDraft("oya", "Øya", "presse@example.org", "nb"))
    elsewhere = replace(room, publisher=publishers.find("oya"))
    theirs, ours = elsewhere.publish(), room.publish()
    room.drain()
    assert elsewhere.receipt(theirs).state == "done"
    assert room.receipt(ours).accepted == len(FOLLOWERS)


def test_a_release_that_another_has_in_hand_is_left_to_it(
    postgresql_room: SendingRoom,
) -> None:
    release_id = postgresql_room.publish()
    with transaction() as session:
        session.get_one(Release, release_id, with_for_update=True)
        postgresql_room.drain()
    assert postgresql_room.release(release_id).frozen_at is None
    postgresql_room.drain()
    assert postgresql_room.receipt(release_id).state == "done"


def test_a_crash_while_freezing_leaves_no_trace(room: SendingRoom) -> None:
    release_id = room.publish()

    def crash() -> None:
        with transaction() as session:
            assert freeze_next(session, 1) == release_id
            raise InterruptedError

    with pytest.raises(InterruptedError):
        crash()
    assert not room.rows(Batch)
    assert room.release(release_id).frozen_at is None
    room.drain()
    assert room.receipt(release_id).accepted == 5


def test_who_confirms_after_the_freeze_waits_for_the_next_release(room: SendingRoom) -> None:
    room.change_subscription(EVA, confirmed_at=None)
    first = room.freeze()
    room.change_subscription(EVA, confirmed_at=now())
    room.drain()
    assert room.received() == Counter({ADA, BOB, CAI, DAG})
    assert room.receipt(first).total == 4
    room.publish()
    room.drain()
    assert room.received()[EVA] == 1


@pytest.mark.parametrize("fields", [{"notify": False}, {"published_at": "2020-01-01T08:00:00Z"}])
def test_what_is_for_the_record_mails_nobody(room: SendingRoom, fields: dict[str, object]) -> None:
    release_id = room.publish(**fields)
    room.drain()
    assert (room.receipt(release_id).state, room.receipt(release_id).total) == ("done", 0)
    assert not room.received()
