"""A relay that says nothing any more, on the virtual clock: how long it is waited for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted_relay import Answer, ScriptedRelay, Stage
from tests.support.world import World, world

# RFC 5321 section 4.5.3.2.
WAITS: dict[Stage, int] = {"rcpt": 300, "data": 120, "dot": 600}
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


@pytest.mark.parametrize(
    ("made", "wait"), [("rcpt", WAITS["rcpt"]), ("data", WAITS["data"])], indirect=["made"]
)
def test_silence_before_the_dot_costs_the_wait_and_nothing_else(made: World, wait: int) -> None:
    release_id = made.run(sent)
    assert made.room.receipt(release_id).state == "done"
    assert taken(made) == Counter((ADA, BOB, CAI))
    assert made.room.uncertain(release_id) == set()
    times = {one.recipient: one.at for one in made.relay.taken}
    assert times[ADA] < 1
    assert wait <= times[BOB] <= times[CAI] < wait + 1


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
