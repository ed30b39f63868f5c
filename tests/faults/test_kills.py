"""Workers are killed at random while a release goes out; nobody is lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from tests.conftest import Databases
from tests.faults.trial import CONNECTIONS, Trial, followers
from tests.servers import Redis

KILLS = 5
_FLUSH_SECONDS = 1.0


def kill_horse(trial: Trial) -> None:
    """Kill the process that sends, or the parent where it sends by itself, without Redis."""
    horses = trial.service.processes["releases"].children
    if not horses:
        kill_parent(trial)
    for horse in horses:
        with suppress(ProcessLookupError):
            os.kill(horse, signal.SIGKILL)


def kill_parent(trial: Trial) -> None:
    """Kill the process that waits for the horse; the horse must not live on. Start another."""
    trial.service.kill("releases")
    trial.service.start("releases")


def kill_both(trial: Trial) -> None:
    """Kill the whole worker, as a machine that loses power would. Start another."""
    kill_horse(trial)
    if trial.service.processes["releases"].running:
        trial.service.kill("releases")
    trial.service.start("releases")


@contextmanager
def flushed(redis: Redis) -> Iterator[None]:
    """Empty Redis again and again."""
    over = threading.Event()

    def flush() -> None:
        while not over.wait(_FLUSH_SECONDS):
            redis.flush()

    thread = threading.Thread(target=flush)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("redis_is", ["well", "flushed", "absent"])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nobody_is_lost_when_workers_are_killed(
    database: str, redis_is: str, databases: Databases, redis: Redis, tmp_path: Path
) -> None:
    if redis_is == "absent":
        redis.kill()
    number = followers()
    with (
        databases.fresh(database) as url,
        Trial.running(url, redis.url, tmp_path, number) as trial,
    ):
        ways: list[Callable[[Trial], None]] = [kill_horse, kill_parent, kill_both]
        trial.publish()
        with flushed(redis) if redis_is == "flushed" else nullcontext():
            for moment in trial.moments(KILLS):
                trial.until_accepted(moment)
                trial.chance.choice(ways)(trial)
            receipt = trial.until_done()
        count = trial.count()
        lost = number - len(count.times)
        print(
            f"{database}, Redis {redis_is}: {lost} lost, {count.duplicates} duplicates, {receipt}"
        )
        assert receipt["accepted"] == receipt["total"] == number
        assert len(count.times) == count.message_ids == number
        assert count.duplicates <= KILLS * CONNECTIONS
        assert all(trial.uncertain(address) for address in count.doubled)
