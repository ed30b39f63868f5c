"""The worker and a signal that comes at the worst moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Never

import pytest
from redis import Redis as Client
from rq import Queue
from rq.exceptions import DequeueTimeout, StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer

from mailer.fanout.jobs import SHUTDOWN_SIGNALS, ShutdownFlag
from mailer.fanout.worker import QueueWorker
from mailer.storage.queues import worker_connection
from tests.fanout.press_room import SendingRoom
from tests.servers import Redis

_QUEUE = "slow"
_JOB_SECONDS = 10
_IDLE_SECONDS = 30


def write_slowly(path: str) -> None:
    """Be a job that takes long, and shows whether it came to its end."""
    time.sleep(_JOB_SECONDS)
    Path(path).touch()


class Deaf(Queue):
    """A queue on whose way some library catches what a signal handler raises."""

    waits = 0

    @classmethod
    def dequeue_any(cls, *_arguments: object, **_named: object) -> Never:
        cls.waits += 1
        if cls.waits > 1:
            raise RuntimeError("It goes on waiting.")
        with suppress(StopRequested):
            signal.raise_signal(signal.SIGTERM)
        raise DequeueTimeout(1, _QUEUE)


class ToldWhilePreparing(QueueWorker):
    """A worker that is told to leave when it has taken a job and has no horse yet."""

    def prepare_execution(self, job: Job) -> Execution:
        execution = super().prepare_execution(job)
        signal.raise_signal(signal.SIGTERM)
        return execution


@pytest.fixture
def connection(sqlite_room: tuple[SendingRoom, dict[str, str]], redis: Redis) -> Iterator[Client]:
    """A worker's connection to Redis, beside a database; signals are as before at the end."""
    before = {number: signal.getsignal(number) for number in SHUTDOWN_SIGNALS}
    with worker_connection(redis.url) as client:
        yield client
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def written(connection: Client, tmp_path: Path) -> Path:
    """What the job that waits in the queue would write."""
    path = tmp_path / "written"
    Queue(_QUEUE, connection=connection, serializer=JSONSerializer).enqueue(write_slowly, str(path))
    return path


def work(kind: type[QueueWorker], connection: Client, **named: Any) -> None:
    """Let a worker wait for jobs until it leaves, or has been idle for too long."""
    worker = kind([_QUEUE], connection=connection, serializer=JSONSerializer, **named)
    worker.shutdown = ShutdownFlag()
    worker.work(logging_level="WARNING", max_idle_time=_IDLE_SECONDS)
    assert worker.shutdown.is_set


def test_it_leaves_though_a_library_caught_what_the_signal_raised(
    connection: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deaf, "waits", 0)
    work(QueueWorker, connection, queue_class=Deaf)
    assert Deaf.waits == 1


def test_it_begins_no_job_when_it_has_been_told_to_leave(connection: Client, written: Path) -> None:
    work(ToldWhilePreparing, connection)
    assert not written.exists()


def test_a_horse_just_born_hears_of_it(
    connection: Client, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = os.fork

    def fork_when_told() -> int:
        child = fork()
        if child:
            signal.raise_signal(signal.SIGTERM)
        return child

    monkeypatch.setattr(os, "fork", fork_when_told)
    work(QueueWorker, connection)
    assert not written.exists()
