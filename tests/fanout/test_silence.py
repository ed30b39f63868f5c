"""A relay that says nothing any more, on the virtual clock: how long it is waited for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted_relay import Answer, Script, ScriptedRelay, Stage, script
from tests.support.sending import FULL, Playing, Sending, people, some
from tests.support.world import World, world

# RFC 5321 section 4.5.3.2.
WAITS: dict[Stage, int] = {"rcpt": 300, "data": 120, "dot": 600}
IMPATIENT = 30
ADA, BOB, CAI = "ada@example.org", "bob@example.org", "cai@example.org"


class Silent:
    """Says nothing at the first time somebody's stage comes; a dot is taken all the same."""

    def __init__(self, address: str, stage: Stage) -> None:
        self._silent = address, stage

    def __call__(self, stage: Stage, recipient: str, number: int) -> Answer | None:
        silent = (recipient, stage) == self._silent and number == 0
        return Answer(None, keeps=stage == "dot") if silent else None


@pytest.fixture
def made(
    request: pytest.FixtureRequest, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Three followers before a relay that is silent at Bob's stage, over one connection."""
    script = Silent(BOB, request.param)
    patient = {"connections": 1, "smtp_timeout_seconds": 600}
    with world(migrated, monkeypatch, lambda clock: ScriptedRelay(clock, script), **patient) as it:
        it.room.add_followers(ADA, BOB, CAI)
        yield it


async def sent(running: World) -> int:
    """Publish a release, and let half an hour pass."""
    running.start_worker()
    release_id = running.room.publish()
    await asyncio.sleep(1800)
    return release_id


def taken(running: World) -> Counter[str]:
    return Counter(one.recipient for one in running.relay.taken)


@pytest.mark.parametrize("made", ["rcpt", "data"], indirect=True)
def test_silence_before_the_dot_costs_half_a_minute_and_nothing_else(made: World) -> None:
    release_id = made.run(sent)
    assert made.room.receipt(release_id).state == "done"
    assert taken(made) == Counter((ADA, BOB, CAI))
    assert made.room.uncertain(release_id) == set()
    times = {one.recipient: one.at for one in made.relay.taken}
    assert times[ADA] < 1
    assert IMPATIENT <= times[BOB] <= times[CAI] < IMPATIENT + 1


@pytest.mark.parametrize("made", ["dot"], indirect=True)
def test_after_a_silent_dot_the_recipient_may_have_it_twice_and_is_listed(made: World) -> None:
    release_id = made.run(sent)
    assert made.room.receipt(release_id).state == "done"
    assert taken(made) == Counter((ADA, BOB, BOB, CAI))
    assert made.room.uncertain(release_id) == {BOB}
    first, second = (one.at for one in made.relay.taken if one.recipient == BOB)
    assert first < 1
    # Five minutes after the answer was given up, give or take a sweep.
    assert WAITS["dot"] + 300 <= second < WAITS["dot"] + 311


@pytest.mark.parametrize("stage", ["rcpt", "data"])
def test_a_relay_that_verifies_each_recipient_for_40_seconds_is_waited_for(
    playing: Playing, stage: Stage
) -> None:
    reply = "250 Ok" if stage == "rcpt" else "354 Go on"

    async def story(sending: Sending) -> None:
        await asyncio.sleep(8 * (IMPATIENT + 41))
        receipt = sending.receipt
        assert (receipt.state, receipt.accepted) == ("done", 30)
        assert sending.taken() == Counter(people(30))

    playing(script(("", stage, Answer(reply, delay=40))), people(30), story, connections=4)


def _once(stage: Stage) -> Script:
    always = some(0.2, stage, Answer(None, keeps=False))
    return lambda at, recipient, number: None if number else always(at, recipient, 0)


@pytest.mark.parametrize(
    ("stage", "wait", "once", "limit"),
    [
        ("rcpt", IMPATIENT + WAITS["rcpt"], False, None),
        ("data", IMPATIENT + WAITS["data"], False, 20),
        ("dot", WAITS["dot"], False, None),
        ("rcpt", IMPATIENT, True, 20),
        ("dot", WAITS["dot"], True, None),
    ],
)
@pytest.mark.slow
def test_a_fifth_who_are_silent_cost_their_share_of_the_connections(
    playing: Playing, stage: Stage, wait: int, *, once: bool, limit: int | None
) -> None:
    answers = _once(stage) if once else some(0.2, stage, Answer(None, keeps=False))
    followers = people(200)
    silent = {one for one in followers if answers(stage, one, 0)}
    most = 0

    async def story(sending: Sending) -> None:
        def watched(at: Stage, recipient: str, number: int) -> Answer | None:
            nonlocal most
            most = max(most, len(sending.relay.open))
            return answers(at, recipient, number)

        sending.relay.script = watched
        await asyncio.sleep(len(silent) * wait / 16 + 5)
        assert set(followers) - silent <= set(sending.taken())
        assert 16 < most <= (limit or 32)

    playing(answers, followers, story, connections=16, relay_connections=limit)


def test_a_relay_that_is_silent_to_everybody_gets_no_more_connections(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        def watched(stage: Stage, _recipient: str, _number: int) -> Answer | None:
            opened.append(len(sending.relay.open))
            silent = stage == "rcpt" and len(sending.relay.taken) >= 50
            return Answer(None) if silent else None

        sending.relay.script = watched
        await asyncio.sleep(IMPATIENT - 1)
        assert len(sending.relay.taken) >= 50
        assert max(opened) == 4

    opened: list[int] = []
    playing(lambda *_: None, people(200), story, connections=4)


@pytest.mark.slow
def test_neighbours_in_a_list_who_are_all_silent_hold_nobody_up_behind_them(
    playing: Playing,
) -> None:
    followers = people(200)
    silent = set(followers[:30])

    def answers(stage: Stage, recipient: str, number: int) -> Answer | None:
        if stage != "rcpt" or recipient not in silent:
            return None
        return Answer(None) if number < 4 else FULL

    async def story(sending: Sending) -> None:
        await asyncio.sleep(len(silent) * (IMPATIENT + WAITS["rcpt"]) / 16 + 5)
        assert set(followers) - silent <= set(sending.taken())
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted, receipt.refused) == ("done", 170, 30)

    playing(answers, followers, story, connections=16)
