"""What the tests of the worker as a process share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mailer.storage.queues import has_worker
from tests.fanout.press_room import BOB, SendingRoom
from tests.processes import eventually
from tests.relay import SILENCE
from tests.servers import Redis
from tests.service import Service

SHORT = {
    "MAILER_CONNECTIONS": "2",
    "MAILER_RETRY_SECONDS": "1",
    "MAILER_SMTP_TIMEOUT_SECONDS": "60",
}


def listening(redis: Redis, queue_name: str = "releases") -> None:
    """Wait until a worker has said that it lives."""
    eventually(lambda: has_worker(redis.url, queue_name), "a worker listens")


def done(room: SendingRoom, release_id: int, patience: float | None = None) -> None:
    """Wait until a release is done."""
    eventually(lambda: room.receipt(release_id).state == "done", "the release is done", patience)


def horse(service: Service) -> int:
    """Wait for the process that does the job, and return its id."""
    return eventually(lambda: service.processes["releases"].children, "a horse")[0]


@contextmanager
def held(room: SendingRoom) -> Iterator[None]:
    """Keep Bob's message waiting at the relay, and let it go on at the end."""
    room.relay.answer(BOB, at="rcpt", reply=SILENCE, times=1)
    yield
    # Broken before it is silent, it would be silent afterwards.
    eventually(lambda: room.relay.silences, "Bob's message waits")
    room.relay.break_connections()
