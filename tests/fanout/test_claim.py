"""Claiming: each batch belongs to one sender at a time, and only what may be sent is claimed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from mailer.fanout.acknowledgements import write
from mailer.fanout.batches import SMALL_RELEASE, Claim, claim, releases_waiting, split
from mailer.fanout.outcomes import Progress
from mailer.mail.smtp_protocol import Reply
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import Batch, BatchMembers, Release
from tests.fanout.press_room import SendingRoom, crowd, together


def test_each_claim_raises_the_epoch_and_sets_a_lease(room: SendingRoom) -> None:
    room.freeze()
    taken = room.claim()
    assert taken is not None
    row = room.rows(Batch)[0]
    assert (taken.batch_id, taken.epoch, row.epoch) == (row.id, 1, 1)
    assert row.lease_until is not None
    back = Progress(taken, position=1, hand_back=True)
    with transaction() as session:
        write(session.connection(), [back], room.settings)
    again = room.claim()
    assert again is not None
    assert (again.batch_id, again.epoch, again.position) == (taken.batch_id, 2, 1)


def test_claims_at_the_same_time_never_take_the_same_batch(empty_room: SendingRoom) -> None:
    empty_room.add_followers(*crowd(24))
    empty_room.freeze(connections=6)
    assert len(empty_room.rows(Batch)) == 24

    def take_six() -> list[Claim | None]:
        return [empty_room.claim() for _ in range(6)]

    taken = [one for claims in together(*[take_six] * 4) for one in claims]
    assert sorted(one.batch_id for one in taken if one) == [
        batch.id for batch in empty_room.rows(Batch)
    ]
    assert {one.epoch for one in taken if one} == {1}
    assert empty_room.claim() is None


@pytest.mark.parametrize("state", ["paused", "stopping", "stopped", "done"])
def test_nothing_is_claimed_of_a_release_that_does_not_go_out(
    room: SendingRoom, state: str
) -> None:
    release_id = room.freeze()
    with transaction() as session:
        session.execute(update(Release).where(Release.id == release_id).values(state=state))
    assert room.claim() is None


def test_nothing_is_claimed_of_a_release_whose_time_has_not_come(room: SendingRoom) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    release_id = room.publish(published_at=tomorrow.isoformat())
    room.drain()
    assert room.claim() is None
    assert (room.release(release_id).state, room.rows(Batch)) == ("scheduled", [])


def test_a_leased_batch_is_not_claimed_even_when_its_lease_ran_out(room: SendingRoom) -> None:
    room.freeze()
    first = room.claim()
    room.later(hours=1)
    others = [room.claim(), room.claim(), room.claim()]
    assert first is not None
    assert first.batch_id not in [one.batch_id for one in others if one]
    assert others[-1] is None


def test_a_release_that_rests_is_claimed_when_its_rest_is_over_and_then_one_batch_at_a_time(
    room: SendingRoom,
) -> None:
    release_id = room.freeze()
    taken = room.claim()
    assert taken is not None
    back = Progress(taken, 0, hand_back=True, sender_refused=Reply(450, "4.1.8", ""))
    with transaction() as session:
        write(session.connection(), [back], room.settings)
    assert room.claim() is None
    with read_transaction() as session:
        assert not releases_waiting(session.connection())
    room.later(seconds=3)
    with read_transaction() as session:
        assert set(releases_waiting(session.connection())) == {release_id}
    again = room.claim()
    assert again is not None
    assert (again.batch_id, again.rests) == (taken.batch_id, 1)
    assert room.claim() is None


def test_older_releases_are_claimed_first(room: SendingRoom) -> None:
    first, second = room.freeze(), room.freeze()
    claims = [room.claim() for _ in range(6)]
    assert [one.release_id for one in claims if one] == [first] * 3 + [second] * 3


def test_the_release_comes_first_of_which_least_is_in_hand(room: SendingRoom) -> None:
    first, second = room.freeze(), room.freeze()
    with transaction() as session:
        taken = claim(session, 60, {first: 1}) + claim(session, 60, {first: 1, second: 1})
    assert [one.release_id for one in taken] == [second, first]


def test_several_claims_at_once_are_shared_out_by_what_is_in_hand(room: SendingRoom) -> None:
    first, second = room.freeze(), room.freeze()
    with transaction() as session:
        taken = claim(session, 60, {first: 2}, at_most=4)
    assert sorted(one.release_id for one in taken) == [first, second, second, second]
    assert len({one.batch_id for one in taken}) == 4
    assert {tuple(one.members) for one in taken} == {
        tuple(piece.ids) for piece in room.rows(BatchMembers)
    }


def test_who_asks_for_more_than_there_is_gets_what_there_is(room: SendingRoom) -> None:
    room.freeze()
    with transaction() as session:
        taken = claim(session, 60, at_most=50)
    assert [one.batch_id for one in taken] == [batch.id for batch in room.rows(Batch)]
    assert room.claim() is None


def test_a_reserved_connection_takes_small_releases_only(room: SendingRoom) -> None:
    large, small = room.freeze(), room.freeze()
    with transaction() as session:
        session.get_one(Release, large).total = SMALL_RELEASE
        session.flush()
        taken = claim(session, 60, small=True) + claim(session, 60, small=True, at_most=3)
    assert [one.release_id for one in taken] == [small] * 3


def test_a_claim_that_is_rolled_back_never_was(room: SendingRoom) -> None:
    room.freeze()

    def crash() -> None:
        with transaction() as session:
            assert claim(session, 60)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        crash()
    batch = room.rows(Batch)[0]
    assert (batch.epoch, batch.lease_until) == (0, None)


def test_the_rest_of_a_claimed_batch_can_go_over_other_connections(empty_room: SendingRoom) -> None:
    people = crowd(40)
    empty_room.add_followers(*people)
    release_id = empty_room.freeze()
    [first, *_] = sorted(empty_room.rows(Batch), key=lambda batch: batch.id)
    taken = empty_room.claim()
    assert taken is not None
    assert taken.batch_id == first.id
    assert first.size > 3
    with transaction() as session:
        write(session.connection(), [Progress(taken, position=1)], empty_room.settings)
    for _ in range(2):
        # The answer to the first COMMIT may have been lost.
        with transaction() as session:
            assert split(session, taken, kept=3, connections=4)
    with read_transaction() as session:
        members = [one for row in session.scalars(select(BatchMembers)) for one in row.ids]
    assert len(members) == len(set(members)) == 40
    assert empty_room.rows(Batch)[0].size == 3
    receipt = empty_room.receipt(release_id)
    assert (receipt.total, receipt.accepted, receipt.waiting) == (40, 1, 39)
    del taken.members[3:]
    with transaction() as session:
        write(session.connection(), [Progress(taken, position=3)], empty_room.settings)
    empty_room.drain()
    receipt = empty_room.receipt(release_id)
    assert (receipt.state, receipt.accepted) == ("done", 40)
    assert empty_room.received().total() == 37


def test_who_is_behind_in_a_batch_of_retries_is_due_at_once(empty_room: SendingRoom) -> None:
    people = crowd(12)
    empty_room.add_followers(*people)
    empty_room.relay.answer(at="rcpt", reply="451 4.3.0 Later", times=12)
    release_id = empty_room.publish()
    empty_room.drain()
    assert empty_room.receipt(release_id).deferred == 12
    empty_room.later(minutes=6)
    empty_room.sweep()
    taken = empty_room.claim()
    assert taken is not None
    assert taken.retry
    behind = len(taken.members) - 1
    assert behind
    with transaction() as session:
        assert split(session, taken, kept=1, connections=1)
    empty_room.sweep()
    again = empty_room.claim()
    assert again is not None
    assert len(again.members) >= behind


@pytest.mark.parametrize("state", ["paused", "stopping"])
def test_nothing_is_split_whose_lease_is_lost_or_release_is_not_sending(
    room: SendingRoom, state: str
) -> None:
    release_id = room.freeze()
    taken = room.claim()
    assert taken is not None
    older = replace(taken, epoch=taken.epoch - 1)
    with transaction() as session:
        assert not split(session, older, kept=1, connections=1)
        session.execute(update(Release).where(Release.id == release_id).values(state=state))
        assert not split(session, taken, kept=1, connections=1)
    assert room.rows(Batch)[0].size == len(taken.members)


def test_a_batch_of_which_more_is_left_in_its_row_is_not_closed(room: SendingRoom) -> None:
    room.freeze()
    taken = room.claim()
    assert taken is not None
    total = len(taken.members)
    assert total > 1
    del taken.members[1:]
    with transaction() as session:
        write(session.connection(), [Progress(taken, position=1)], room.settings)
    batch = room.rows(Batch)[0]
    assert (batch.open, batch.position, batch.size) == (True, 1, total)
