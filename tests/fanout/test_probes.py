"""The relay backoff on the virtual clock: who is probed with, and what the end of it does."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from mailer.domain import publishers
from mailer.domain.followers import subscriptions
from mailer.domain.followers.subscriptions import Evidence
from tests.support.press_room import SLUG
from tests.support.scripted_relay import Answer, Stage
from tests.support.sending import ADA, DEAD, FULL, Playing, Sending, everybody, people
from tests.support.world import World

LATER = Answer("451 4.3.0 Later")
GUEST = "guest@example.org"
PROOF = Evidence(language="nb", page="test", network=None)
HOUR = 3600


def sign_up(sending: Sending) -> None:
    """Let a visitor sign up, whose confirmation waits in the outbox."""
    subscriptions.sign_up(sending.room.settings, publishers.find(SLUG), GUEST, PROOF)


@pytest.mark.slow
def test_whoever_the_relay_would_take_is_found_by_a_probe(playing: Playing) -> None:
    ours = {145: "one@own.example", 148: "two@own.example", 155: "three@own.example"}
    followers = [ours.get(number, one) for number, one in enumerate(people(160))]

    async def story(sending: Sending) -> None:
        await asyncio.sleep(26 * HOUR)
        assert set(sending.taken()) == set(ours.values())
        assert sending.receipt.refused == 0

    elsewhere = lambda at, who, _: (  # noqa: E731
        LATER if at == "rcpt" and not who.endswith("@own.example") else None
    )
    playing(elsewhere, followers, story, connections=4)


def test_a_probe_whose_dot_is_not_answered_is_one_message(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(35)
        before = len(sending.relay.named)
        sending.relay.script = everybody("dot", Answer(None, closes=True, keeps=True))
        for session in list(sending.relay.open):
            session.abort()
        await asyncio.sleep(60)
        assert len(sending.relay.named) - before == 1

    playing(everybody("rcpt", LATER), people(800), story, connections=4)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.slow
def test_letters_are_probed_with_in_turn_and_their_end_of_it_is_slow(
    playing: Playing, workers: int
) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(60)
        sending.relay.script = lambda at, who, _: LATER if at == "rcpt" and who != GUEST else None
        sign_up(sending)
        await asyncio.sleep(20 * 60)
        [letter] = sending.relay.taken
        assert letter.recipient == GUEST
        after = [at for at, _ in sending.relay.named if letter.at < at < letter.at + 3]
        assert len(after) < 3 + 4

    playing(everybody("rcpt", LATER), people(800), story, workers)


class BrokenTwice:
    """Refuses all for a moment, puts all off for a while, and refuses some until it is mended."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.refused: set[str] = set()

    def __call__(self, stage: Stage, who: str, _number: int) -> Answer | None:
        moment = self.world.clock.seconds if self.world else 0.0
        answer = None
        if stage != "rcpt":
            return None
        if 2 <= moment < 2.8:
            self.refused.add(who)
            answer = DEAD
        elif 20 <= moment < 300:
            answer = LATER
        elif 300 <= moment < 1000 and who in self.refused:
            answer = DEAD
        return answer


def test_marked_recipients_keep_their_hour_through_a_backoff(playing: Playing) -> None:
    relay = BrokenTwice()

    async def story(sending: Sending) -> None:
        relay.world = sending.world
        receipt = await sending.until_at_rest(3)
        assert (receipt.state, receipt.accepted) == ("done", 600)
        named = defaultdict(list)
        for at, who in sending.relay.named:
            named[who].append(at)
        assert len(relay.refused) >= 5
        assert min(named[one][1] for one in relay.refused) > HOUR

    playing(relay, people(600), story, messages_a_second=12, connections=4)


def test_resume_begins_anew_for_those_in_retry_batches(playing: Playing) -> None:
    followers = people(60)[::-1]
    dead = set(followers[-19:])
    answers = lambda at, who, _: DEAD if at == "rcpt" and who in dead else None  # noqa: E731

    async def story(sending: Sending) -> None:
        await asyncio.sleep(5)
        believed = sending.receipt.refused
        for worker in sending.world.workers:
            sending.world.kill(worker)
        await asyncio.sleep(1.1 * HOUR)
        sending.room.pause(sending.release_id)
        await asyncio.sleep(24 * HOUR)
        sending.room.resume(sending.release_id)
        sending.world.start_worker()
        await asyncio.sleep(20)
        assert sending.receipt.refused == believed < len(dead)

    playing(answers, followers, story, connections=2)


@pytest.mark.parametrize("pattern", ["554", "54", "5545545554"])
@pytest.mark.parametrize("number", [1, 12])
def test_whoever_is_refused_and_put_off_by_turns_ends_too(
    playing: Playing, pattern: str, number: int
) -> None:
    *_, last = followers = people(number)

    def answers(at: Stage, who: str, times: int) -> Answer | None:
        if at != "rcpt" or who != last:
            return None
        return DEAD if times and pattern[(times - 1) % len(pattern)] == "5" else FULL

    async def story(sending: Sending) -> None:
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted, receipt.refused) == ("done", number - 1, 1)

    playing(answers, followers, story)


@pytest.mark.parametrize("dots", [1, 2])
@pytest.mark.parametrize("retracts", [True, False])
def test_whose_dot_was_not_answered_gets_the_version_that_follows(
    playing: Playing, dots: int, *, retracts: bool
) -> None:
    kept = Answer(None, closes=True, keeps=True)
    answers = lambda at, who, times: (  # noqa: E731
        kept if (at, who) == ("dot", ADA) and times < dots else None
    )

    async def story(sending: Sending) -> None:
        await (asyncio.sleep(60) if dots == 1 else sending.until_at_rest())
        room, before = sending.room, len(sending.relay.taken)
        follows = room.retract if retracts else room.correct
        await Sending(sending.world, follows(sending.release_id)).until_at_rest()
        [letter] = [one for one in sending.relay.taken[before:] if one.recipient == ADA]
        first_word = b"Trukket" if retracts else b"Rettelse"
        assert b"Subject: " + first_word in letter.content

    playing(answers, people(12), story)
