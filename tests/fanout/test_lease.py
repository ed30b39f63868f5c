"""Leases: what a sender that is gone held is finished by another, and it cannot come back."""

from __future__ import annotations

from collections import Counter

from mailer.fanout.acknowledgements import FENCED, GO_ON, write
from mailer.fanout.answers.replies import Verdict
from mailer.fanout.batches import Claim
from mailer.fanout.outcomes import Finding, Progress
from mailer.storage.database import transaction
from mailer.storage.leases import renew
from mailer.storage.models import Batch, Outcome, Uncertain
from tests.fanout.press_room import ADA, BOB, FOLLOWERS, SendingRoom
from tests.processes import eventually
from tests.relay import SILENCE


def written(room: SendingRoom, *progresses: Progress) -> list[str]:
    """Write progresses as an AcknowledgementWriter does."""
    with transaction() as session:
        return write(session.connection(), progresses, room.settings)


def claimed(room: SendingRoom) -> Claim:
    """Freeze a release and claim its first batch, which is Ada's and Bob's."""
    room.freeze()
    taken = room.claim()
    assert taken is not None
    assert len(taken.members) == 2
    return taken


def test_a_lease_that_ran_out_is_freed_and_who_was_next_is_uncertain(
    room: SendingRoom,
) -> None:
    taken = claimed(room)
    assert written(room, Progress(taken, 1)) == [GO_ON]
    room.sweep()
    assert room.rows(Batch)[0].epoch == taken.epoch
    room.later(minutes=2)
    room.sweep()
    batch = room.rows(Batch)[0]
    assert (batch.epoch, batch.lease_until, batch.position) == (taken.epoch + 1, None, 1)
    assert room.uncertain(taken.release_id) == {BOB}
    assert [one.reason for one in room.rows(Uncertain)] == ["lost lease"]


def test_another_sender_finishes_what_one_that_died_began(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="taken", reply="(the connection is dropped)", times=1)
    release_id = room.publish()
    room.dies_when(lambda: room.received()[BOB])
    room.later(minutes=2)
    room.sweep()
    room.drain()
    assert room.receipt(release_id).state == "done"
    twice = [one for one, times in room.received().items() if times > 1]
    assert set(room.received()) == set(FOLLOWERS)
    assert len(twice) <= 1
    assert set(twice) <= room.uncertain(release_id)


def test_who_has_lost_a_batch_does_not_wait_for_the_relays_answer(room: SendingRoom) -> None:
    room.adjust(lease_seconds=2, smtp_timeout_seconds=600)
    room.relay.answer(BOB, at="taken", reply=SILENCE, times=1)
    release_id = room.publish()

    def lost() -> bool:
        room.later(minutes=2)
        room.sweep()
        return room.uncertain(release_id) == {BOB}

    with room.draining():
        eventually(lambda: room.relay.silences, "Bob's message waits for its answer")
        eventually(lost, "the lease ran out")
        eventually(lambda: room.receipt(release_id).state == "done", "the batch goes on")
    assert room.received() == Counter([*FOLLOWERS, BOB])


def test_who_is_sent_to_behind_somebody_who_left_is_the_one_who_is_uncertain(
    room: SendingRoom,
) -> None:
    release_id = room.freeze()
    room.leave(ADA)
    room.relay.answer(BOB, at="taken", reply=SILENCE)
    room.dies_when(lambda: room.received()[BOB])
    room.relay.answer(BOB, at="taken", reply="250 2.0.0 OK")
    room.later(minutes=2)
    room.sweep()
    assert room.uncertain(release_id) == {BOB}
    room.drain()
    assert room.received()[BOB] == 2
    assert room.receipt(release_id).state == "done"


def test_the_acknowledgement_of_a_sender_that_was_given_up_changes_nothing(
    room: SendingRoom,
) -> None:
    old = claimed(room)
    room.later(minutes=2)
    room.sweep()
    late = Progress(
        old,
        2,
        findings=[
            Finding(old.members[0], ADA, Verdict("refused", "5.1.1")),
            Finding(old.members[1], BOB, Verdict("unanswered", "4.4.2")),
        ],
    )
    assert written(room, late) == [FENCED]
    batch = room.rows(Batch)[0]
    assert (batch.position, batch.open, batch.lease_until) == (0, True, None)
    assert not room.rows(Outcome)
    assert not room.suppressed()
    assert room.uncertain(old.release_id) == {ADA}


def test_the_late_acknowledgement_also_fails_when_another_has_the_batch(
    room: SendingRoom,
) -> None:
    old = claimed(room)
    room.later(minutes=2)
    room.sweep()
    new = room.claim()
    assert new is not None
    assert new.batch_id == old.batch_id
    assert written(room, Progress(old, 2), Progress(new, 1)) == [FENCED, GO_ON]
    assert room.rows(Batch)[0].position == 1


def test_a_position_never_goes_back(room: SendingRoom) -> None:
    taken = claimed(room)
    assert written(room, Progress(taken, 1)) == [GO_ON]
    assert written(room, Progress(taken, 0)) == [FENCED]
    assert room.rows(Batch)[0].position == 1


def test_a_lease_is_renewed_for_its_owner_alone(room: SendingRoom) -> None:
    old = claimed(room)
    room.later(minutes=2)
    with transaction() as session:
        assert renew(session.connection(), Batch, [old.key], 60) == {old.key}
    room.sweep()
    assert room.rows(Batch)[0].epoch == old.epoch
    room.later(minutes=2)
    room.sweep()
    with transaction() as session:
        assert renew(session.connection(), Batch, [old.key], 60) == set()
    assert room.rows(Batch)[0].lease_until is None


def test_a_renewal_that_comes_after_the_batch_was_given_back_does_not_lease_it_again(
    room: SendingRoom,
) -> None:
    taken = claimed(room)
    written(room, Progress(taken, 0, hand_back=True))
    with transaction() as session:
        assert renew(session.connection(), Batch, [taken.key], 60) == set()
    assert room.rows(Batch)[0].lease_until is None


def test_an_acknowledgement_that_is_written_twice_counts_once(room: SendingRoom) -> None:
    taken = claimed(room)
    refused = [Finding(taken.members[0], ADA, Verdict("refused", "5.7.1"))]
    for _ in range(2):
        assert written(room, Progress(taken, 2, findings=refused)) == [GO_ON]
    receipt = room.receipt(taken.release_id)
    assert (receipt.accepted, receipt.refused, receipt.waiting) == (1, 1, 3)


def test_a_deferral_that_is_written_twice_is_one_attempt(room: SendingRoom) -> None:
    taken = claimed(room)
    busy = [Finding(taken.members[0], ADA, Verdict("deferred", "4.2.2"))]
    for _ in range(2):
        written(room, Progress(taken, 1, findings=busy))
    [outcome] = room.rows(Outcome)
    assert outcome.attempts == 1


def test_the_others_are_sent_while_a_lease_runs_out(room: SendingRoom) -> None:
    taken = claimed(room)
    room.drain()
    assert room.received() == Counter(FOLLOWERS[2:])
    receipt = room.receipt(taken.release_id)
    assert (receipt.state, receipt.accepted, receipt.waiting) == ("sending", 3, 2)
