"""The worker and a signal that comes at the worst moment."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.config import Settings
from mailer.fanout.jobs import DRAINS, SHUTDOWN_SIGNALS
from mailer.fanout.worker import WorkerProcess
from mailer.storage.queues import Waiting, wake
from tests.fanout.press_room import SendingRoom
from tests.servers import Redis


@pytest.fixture
def drained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a drain writes that was told to hand back."""
    path = tmp_path / "handed back"

    async def drain(_settings: Settings, shutdown: asyncio.Event) -> None:
        await shutdown.wait()
        path.touch()

    monkeypatch.setitem(DRAINS, "letters", drain)
    return path


@pytest.fixture
def worker(
    sqlite_room: tuple[SendingRoom, dict[str, str]],
    redis: Redis,
    drained: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[WorkerProcess]:
    """A worker for whom a job waits; signals are as before at the end."""
    _, environment = sqlite_room
    environment = {**environment, "REDIS_URL": redis.url}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before = {number: signal.getsignal(number) for number in SHUTDOWN_SIGNALS}
    wake(redis.url, "letters")
    yield WorkerProcess(Settings.from_environment(environment), "letters")
    for number, handler in before.items():
        signal.signal(number, handler)


def test_it_begins_no_job_when_it_has_been_told_to_leave(
    worker: WorkerProcess, drained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = Waiting.job_came

    def told_when_it_came(waiting: Waiting) -> bool:
        found = came(waiting)
        signal.raise_signal(signal.SIGTERM)
        return found

    monkeypatch.setattr(Waiting, "job_came", told_when_it_came)
    worker.run()
    assert not drained.exists()


def test_a_horse_just_born_hears_of_it(
    worker: WorkerProcess, drained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = os.fork

    def fork_when_told() -> int:
        child = fork()
        if child:
            signal.raise_signal(signal.SIGTERM)
        return child

    monkeypatch.setattr(os, "fork", fork_when_told)
    worker.run()
    assert drained.exists()
