"""Random worlds with real processes: workers die at random statements, and more besides."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Databases
from tests.faults.redis_faults import flush_redis, kill_redis
from tests.faults.trial import CONNECTIONS, Trial
from tests.faults.worker_faults import deploy, freeze_horse, kill_group, kill_horse, kill_parent
from tests.processes import Process, eventually
from tests.servers import Redis
from tests.service import complete
from tests.support.misbehaviour import Rule, Stage
from tests.support.relay_process import RelayProcess
from tests.support.trial import PATIENCE_SECONDS, Parts

WORLDS = int(os.environ.get("REAL_WORLDS", "2"))
_FIRST = int(os.environ.get("REAL_WORLDS_FIRST", "0"))
_ONCE_IN = (200, 1_000, 4_000)
_STAGES: tuple[Stage, ...] = ("rcpt", "data", "dot")
_REPLIES = ("451 4.3.0 Later", "450 4.7.1 Wait", "452 4.2.2 Full", "421 4.7.0 Closing", "")


def _kill_relay(trial: Trial) -> None:
    trial.relay.kill()
    trial.relay.start()


_STRIKES: tuple[Callable[[Trial], None], ...] = (
    *(kill_horse, kill_parent, kill_group, freeze_horse, deploy),
    *(kill_redis, flush_redis, _kill_relay),
)


@pytest.fixture
def parts(
    request: pytest.FixtureRequest, seed: int, databases: Databases, redis: Redis, tmp_path: Path
) -> Iterator[Parts]:
    """The servers of one world: every second one is on PostgreSQL."""
    kind = ("sqlite", "postgresql")[seed % 2]
    server = request.getfixturevalue("postgresql") if kind == "postgresql" else None
    with databases.fresh(kind) as url:
        yield Parts(url, tmp_path, redis, server)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(_FIRST, _FIRST + WORLDS))
def test_a_world_of_real_processes_keeps_the_promises(seed: int, parts: Parts) -> None:
    draw = random.Random(seed)
    deaths = parts.folder / "deaths"
    deaths.touch()
    dying = {"DIES_ONCE_IN": str(draw.choice(_ONCE_IN)), "DEATHS": str(deaths)}
    with Trial.running(parts, {}, str(seed), draw.randint(20, 300), RelayProcess) as trial:
        trial.relay.follow(_rules(draw))
        _let_die(trial, dying)
        for _ in range(draw.randint(1, 3)):
            trial.publish()
            for moment in trial.moments(draw.randint(0, 3)):
                if _resume_until(trial, moment) != "done":
                    draw.choice(_STRIKES)(trial)
                    trial.story.strikes += 1
            _resume_until(trial)
        count = trial.count()
        # A strike meets both workers, a death one of them.
        disturbances = 2 * trial.story.strikes + deaths.stat().st_size
        unanswered = sum(map(trial.unanswered, trial.published))
        print(f"{seed}: {disturbances} disturbances, {count.duplicates} twice, {unanswered} listed")
        # Who has two unanswered dots is sent nothing more, and listed.
        assert count.lost <= unanswered
        assert count.duplicates <= CONNECTIONS * disturbances
        assert not trial.unannounced(count.doubled)


def _rules(draw: random.Random) -> list[Rule]:
    """Let the relay refuse some recipients for the moment, or close, once or twice each."""
    return [
        Rule(
            draw.choice(_STAGES),
            draw.choice(_REPLIES),
            share=draw.choice((0.05, 0.3)),
            times=draw.randint(1, 2),
        )
        for _ in range(draw.randint(0, 2))
    ]


def _let_die(trial: Trial, dying: dict[str, str]) -> None:
    """Put workers that die in the place of the worker, one or two."""
    environment = complete({**trial.service.environment, **dying})
    command = [sys.executable, "-m", "tests.faults.dying_worker"]
    trial.service.kill("releases")
    for name in ("releases", "colleague"):
        log = trial.parts.folder / f"{name}.log"
        trial.service.processes[name] = Process(command, log, environment=environment)
        trial.service.start(name)


def _resume_until(trial: Trial, accepted: int | None = None) -> str:
    """Wait until so many are accepted, or until the end; returns the state.

    A press officer resumes what is paused after three deaths at one place, or twenty unanswered
    dots in a row.
    """

    def reached() -> str:
        receipt = trial.receipt()
        state: str = receipt["state"]
        if state == "paused":
            trial.publishing.resume(trial.release)
        enough = accepted is not None and receipt["accepted"] >= accepted
        return state if state == "done" or enough else ""

    return eventually(reached, f"{accepted or 'all'} accepted", PATIENCE_SECONDS)
