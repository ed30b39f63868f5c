"""The Date of a letter: the freeze's where it leaves soon after it, and never hours old."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from datetime import datetime, timedelta
from email import message_from_bytes, policy

import pytest

from tests.support.scripted_relay import Answer, Script, ScriptedRelay, script
from tests.support.sending import ADA, FULL, Playing, Sending, everybody, people
from tests.support.virtual_time import BEGINNING

HOUR = timedelta(hours=1)
BATCH = 8
OLD = 3 * HOUR
"""SpamAssassin's DATE_IN_PAST_03_06 begins here."""
TAKEN_UNANSWERED = Answer(None, keeps=True, closes=True)


def dates(relay: ScriptedRelay) -> dict[str, list[tuple[datetime, datetime]]]:
    """Return when the relay took each copy of a release, and its Date, by recipient."""
    found = defaultdict(list)
    for one in relay.taken:
        if b"\r\nPrecedence: list\r\n" in one.content:
            header = message_from_bytes(one.content, policy=policy.default)["Date"]
            found[one.recipient].append((BEGINNING + timedelta(seconds=one.at), header.datetime))
    return found


def judge(sending: Sending) -> None:
    """See that no letter was old or from the future, and that copies are the same."""
    frozen = sending.room.release(sending.release_id).frozen_at
    assert frozen is not None
    perhaps_sent_before = sending.room.uncertain(sending.release_id)
    for recipient, copies in dates(sending.relay).items():
        (first, date), *others = copies
        assert {dated for _, dated in others} <= {date}
        assert frozen.replace(microsecond=0) <= date <= first
        assert first - date < OLD or recipient in perhaps_sent_before
        if first - frozen < HOUR:
            assert date == frozen.replace(microsecond=0)


def seldom(seed: int) -> Script:
    """Answer most recipients, and be silent, busy or full for the others, the first few times."""

    def answer(stage: str, recipient: str, number: int) -> Answer | None:
        drawn = random.Random(f"{seed} {stage} {recipient} {number}").random()
        if stage == "dot" and number == 0 and drawn < 0.05:
            return TAKEN_UNANSWERED
        return FULL if stage == "rcpt" and number < 4 and drawn < 0.3 else None

    return answer


@pytest.mark.parametrize("seed", range(12))
def test_however_long_it_takes_no_letter_is_old_and_both_copies_are_the_same(
    playing: Playing, seed: int
) -> None:
    drawn = random.Random(f"dates {seed}")

    async def story(sending: Sending) -> None:
        for _ in range(drawn.randrange(4)):
            await asyncio.sleep(drawn.choice((5, 60, 2400, 4000)))
            if drawn.random() < 0.5:
                for worker in sending.world.workers:
                    sending.world.kill(worker)
                await asyncio.sleep(drawn.choice((120, 3600, 36_000)))
                sending.world.start_worker()
            elif sending.receipt.state == "sending":
                sending.room.pause(sending.release_id)
                await asyncio.sleep(drawn.choice((60, 4000, 36_000, 120 * 3600)))
                sending.room.resume(sending.release_id)
        await sending.until_at_rest(200)
        assert len(dates(sending.relay)) == 40
        judge(sending)

    slow = {"messages_a_second": drawn.choice((0.05, 0.5, 20))}
    playing(seldom(seed), people(40), story, relay=slow, connections=drawn.choice((1, 4)))


def test_a_batch_that_is_claimed_within_the_hour_has_one_date(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(60)
        sending.room.pause(sending.release_id)
        await asyncio.sleep(39 * 60)
        sending.room.resume(sending.release_id)
        await sending.until_at_rest()
        found = dates(sending.relay)
        first_batch = [found[one][0] for one in people(BATCH)]
        (frozen,) = {date for _, date in first_batch}
        assert max(first_batch)[0] > frozen + HOUR
        judge(sending)

    slow = everybody("dot", Answer("250 2.0.0 Taken", delay=300))
    playing(slow, people(4 * BATCH), story, connections=1)


def test_who_may_have_it_gets_it_again_under_the_same_date(playing: Playing) -> None:
    def answers(stage: str, recipient: str, number: int) -> Answer | None:
        unanswered = (stage, recipient, number) == ("dot", ADA, 0)
        return TAKEN_UNANSWERED if unanswered else None

    async def story(sending: Sending) -> None:
        await asyncio.sleep(60)
        sending.room.pause(sending.release_id)
        await asyncio.sleep(36 * 3600)
        sending.room.resume(sending.release_id)
        await sending.until_at_rest()
        (first, date), (second, again) = dates(sending.relay)[ADA]
        assert date == again
        assert second - first > 36 * HOUR

    playing(answers, people(3), story)


def test_a_letter_that_waits_for_the_relay_is_dated_when_it_is_sent(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(10 * 3600)
        sending.relay.heal()
        await sending.until_at_rest()
        judge(sending)
        assert all(taken - date < HOUR for ((taken, date),) in dates(sending.relay).values())

    playing(script(("", "banner", Answer("421 4.3.2 Not now"))), people(5), story)
