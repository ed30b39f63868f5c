"""Corrections and retractions: who has a version hears of the next, and nobody else does."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from email.message import EmailMessage

import pytest

from mailer.errors import Conflict, InvalidInput
from tests.fanout.press_room import ADA, BOB, CAI, FOLLOWERS, SendingRoom, crowd
from tests.processes import eventually

OLD = "Skuta er hjemme"
BETTER = "Båten er ikke hjemme ennå"
NOTE = "Skuta ligger fortsatt i Bergen."


def by_recipient(room: SendingRoom, since: int = 0) -> Mapping[str, Sequence[EmailMessage]]:
    """Return what the relay has taken since then, for each recipient."""
    found: defaultdict[str, list[EmailMessage]] = defaultdict(list)
    for one in room.relay.received[since:]:
        found[one.recipient].append(one.message)
    return found


def test_everyone_who_has_it_gets_the_correction_under_it(room: SendingRoom) -> None:
    first = room.publish()
    room.drain()
    before = by_recipient(room)
    second = room.correct(first, title=BETTER, note=NOTE)
    room.drain()
    after = by_recipient(room, since=len(FOLLOWERS))
    assert after.keys() == set(FOLLOWERS)
    for one in FOLLOWERS:
        [old], [new] = before[one], after[one]
        assert new["In-Reply-To"] == new["References"] == old["Message-ID"]
        assert new["Message-ID"] != old["Message-ID"]
        assert new["Subject"] == f"Rettelse: {BETTER}"
        for part in new.iter_parts():
            assert NOTE in " ".join(part.get_content().split())
    receipt = room.receipt(second)
    assert (receipt.state, receipt.total, receipt.accepted) == ("done", 5, 5)
    assert room.receipt(first).state == "done"


def test_a_correction_that_notifies_nobody_mails_nobody(room: SendingRoom) -> None:
    first = room.publish()
    room.drain()
    second = room.correct(first, title=BETTER, note=NOTE, notify=False)
    room.drain()
    assert not by_recipient(room, since=len(FOLLOWERS))
    receipt = room.receipt(second)
    assert (receipt.state, receipt.total) == ("done", 0)
    # What comes after it is for those who have the first version.
    third = room.retract(second, NOTE)
    room.drain()
    for one, [retraction] in by_recipient(room, since=len(FOLLOWERS)).items():
        assert retraction["In-Reply-To"] == by_recipient(room)[one][0]["Message-ID"]
    assert (room.receipt(third).state, room.receipt(third).accepted) == ("done", len(FOLLOWERS))


def test_a_better_version_comes_after_one_that_notified_nobody(room: SendingRoom) -> None:
    first = room.publish()
    room.drain()
    second = room.correct(first, title="Båten er på vei", notify=False)
    third = room.correct(second, title=BETTER, notify=True)
    room.drain()
    assert by_recipient(room, since=len(FOLLOWERS)).keys() == set(FOLLOWERS)
    assert room.receipt(third).accepted == len(FOLLOWERS)


def test_whose_first_version_was_mailed_to_nobody_hears_of_no_later_one(room: SendingRoom) -> None:
    first = room.publish(notify=False)
    second = room.correct(first, title=BETTER, notify=True)
    room.retract(second, NOTE)
    room.drain()
    assert not room.relay.received


def test_a_release_is_corrected_in_the_middle_and_everyone_gets_what_is_right(
    room: SendingRoom,
) -> None:
    chance = random.Random(20261125)
    room.add_followers(*crowd(95))
    everyone = [*FOLLOWERS, *crowd(95)]
    last = everyone[40]
    others = [one for one in everyone if one != last]
    refused, deferred, gone = (set(chance.sample(others, number)) for number in (10, 10, 10))
    for one in refused:
        room.relay.answer(one, at="rcpt", reply="550 5.7.1 Not wanted here")
    for one in deferred - refused:
        room.relay.answer(one, at="rcpt", reply="450 4.2.2 Mailbox full", times=1)
    first = room.publish()
    with room.drained_while_silent_to(last):
        for one in gone:
            room.leave(one)
        second = room.correct(first, title=BETTER)

    def is_done() -> bool:
        room.later(seconds=2)
        room.sweep()
        room.drain()
        return room.receipt(second).state == "done"

    eventually(is_done, "the second goes out, and again to the deferred")
    assert room.receipt(first).state == "stopped"
    letters = by_recipient(room)
    had_it = 0
    for one in everyone:
        first_ones = [message for message in letters[one] if message["Subject"] == OLD]
        told = [message for message in letters[one] if message["Subject"] != OLD]
        had_it += len(first_ones)
        under = first_ones[0]["Message-ID"] if first_ones else None
        subject = f"Rettelse: {BETTER}" if first_ones else BETTER
        expected = [] if one in gone | refused else [(subject, under)]
        assert [(message["Subject"], message["In-Reply-To"]) for message in told] == expected, one
    assert 30 < had_it < 45


def test_whoever_was_spared_gets_the_better_version_and_never_the_first(
    room: SendingRoom,
) -> None:
    first = room.freeze()
    room.stop(first)
    second = room.correct(first, title=BETTER)
    room.drain()
    for one, letters in by_recipient(room).items():
        [letter] = letters
        assert (letter["Subject"], letter["In-Reply-To"]) == (BETTER, None), one
    assert room.receipt(second).accepted == 5


def test_what_has_not_started_is_replaced_for_all_who_follow(room: SendingRoom) -> None:
    first = room.publish(hold_minutes=60)
    room.correct(first, title=BETTER, hold_minutes=0)
    room.drain()
    assert [one.message["Subject"] for one in room.relay.received] == [BETTER] * 5
    assert room.receipt(first).state == "stopped"


def test_whoever_follows_since_then_has_nothing_to_be_corrected(room: SendingRoom) -> None:
    first = room.publish()
    room.drain()
    room.add_followers("fia@example.org")
    second = room.correct(first, title=BETTER)
    room.drain()
    assert room.received()["fia@example.org"] == 0
    assert room.receipt(second).total == 5


def test_a_retraction_is_told_to_whoever_has_the_release(room: SendingRoom) -> None:
    room.relay.answer(BOB, at="rcpt", reply="550 5.7.1 Not wanted here")
    first = room.publish()
    room.drain()
    room.leave(CAI)
    last = room.retract(first, NOTE)
    room.drain()
    told = by_recipient(room, since=4)
    assert told.keys() == set(FOLLOWERS) - {BOB, CAI}
    [letter] = told[ADA]
    assert letter["Subject"] == f"Trukket tilbake: {OLD}"
    assert letter["In-Reply-To"] == by_recipient(room)[ADA][0]["Message-ID"]
    for part in letter.iter_parts():
        text = " ".join(part.get_content().split())
        assert NOTE in text
        assert OLD in text
    receipt = room.receipt(last)
    assert (receipt.state, receipt.total, receipt.accepted) == ("done", 4, 3)


def test_a_retraction_of_what_nobody_has_is_told_to_nobody(room: SendingRoom) -> None:
    first = room.publish(hold_minutes=60)
    last = room.retract(first)
    room.drain()
    assert not room.received()
    assert room.receipt(first).state == "stopped"
    assert room.receipt(last).state == "done"


def test_a_correction_is_corrected_in_the_same_thread(room: SendingRoom) -> None:
    first = room.publish()
    room.drain()
    second = room.correct(first, title=BETTER)
    room.drain()
    room.correct(second, title="Båten er i Bergen")
    room.drain()
    for letters in by_recipient(room).values():
        one, two, three = letters
        assert three["In-Reply-To"] == two["Message-ID"]
        assert three["References"] == f"{one['Message-ID']} {two['Message-ID']}"


def test_whoever_was_waiting_for_a_correction_gets_the_next_one_as_such(
    room: SendingRoom,
) -> None:
    first = room.publish()
    room.drain()
    second = room.correct(first, title=BETTER, hold_minutes=60)
    third = room.correct(second, title="Båten er i Bergen", hold_minutes=0)
    room.drain()
    for letters in by_recipient(room).values():
        one, two = letters
        assert two["Subject"] == "Rettelse: Båten er i Bergen"
        assert two["In-Reply-To"] == one["Message-ID"]
    assert room.receipt(second).state == "stopped"
    assert room.receipt(third).accepted == 5


def test_a_deferred_correction_is_tried_again_as_a_correction(room: SendingRoom) -> None:
    first = room.publish()
    room.relay.answer(BOB, at="rcpt", reply="550 5.7.1 Not wanted here", times=1)
    room.drain()
    room.relay.answer(ADA, at="rcpt", reply="450 4.2.2 Mailbox full", times=1)
    second = room.correct(first, title=BETTER)
    room.drain()
    assert room.receipt(second).deferred == 1
    room.later(seconds=2)
    room.sweep()
    room.drain()
    old, new = by_recipient(room)[ADA]
    assert new["In-Reply-To"] == old["Message-ID"]
    assert room.receipt(second).accepted == 4


def test_the_same_correction_again_is_the_same_and_another_is_refused(
    room: SendingRoom,
) -> None:
    first = room.publish()
    second = room.correct(first, title=BETTER)
    assert room.correct(first, title=BETTER) == second
    with pytest.raises(Conflict, match=f"release {second}"):
        room.correct(first, title="Noe annet")
    with pytest.raises(Conflict):
        room.retract(first)
    last = room.retract(second)
    assert room.retract(second) == last
    with pytest.raises(Conflict):
        room.correct(last, title="Likevel")


def test_what_was_only_for_the_record_is_corrected_for_the_record(room: SendingRoom) -> None:
    first = room.publish(notify=False)
    second = room.correct(first, title=BETTER)
    room.drain()
    assert not room.received()
    assert room.receipt(second).state == "done"


def test_a_correction_keeps_its_reference_and_a_first_version_has_no_note(
    room: SendingRoom,
) -> None:
    first = room.publish()
    with pytest.raises(InvalidInput) as mistake:
        room.correct(first, reference="another")
    assert list(mistake.value.problems) == ["reference"]
    with pytest.raises(InvalidInput) as mistake:
        room.publish(note=NOTE)
    assert list(mistake.value.problems) == ["note"]
