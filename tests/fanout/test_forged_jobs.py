"""Jobs that somebody forged who can write to Redis: none does anything but wake a worker."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as Client
from rq import Callback, Queue, Repeat
from rq.job import Job
from rq.serializers import JSONSerializer

from tests.fanout.press_room import SendingRoom
from tests.fanout.worker_process import done
from tests.processes import eventually
from tests.servers import Redis
from tests.service import Service

QUEUES = ("releases", "letters")


class Executed:
    """What runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, (f"open({str(self._path)!r}, 'w')",)


def forge(client: Client, queue_name: str, folder: Path) -> None:
    """Put jobs into a queue that would write into a folder, each in a way of its own."""
    queue = Queue(queue_name, connection=client, serializer=JSONSerializer)
    touch = ("pathlib.Path.touch",)
    queue.enqueue("pathlib.Path.write_text", str(folder / "function"), "x", timeout=0)
    queue.enqueue("os.mkdir", str(folder / "mkdir"), job_timeout=1, repeat=Repeat(times=3))
    for kind in ("on_success", "on_failure", "on_stopped"):
        named: dict[str, Any] = {kind: Callback("os.mkdir")}
        job = queue.enqueue("os.getcwd", **named)
        queue.enqueue("os.mkdir", str(folder / kind), depends_on=job)
    pickled = Job.create("os.getcwd", connection=client, id=f"pickled-{queue_name}")
    pickled.save()
    client.hset(pickled.key, "data", zlib.compress(pickle.dumps(Executed(folder / "pickled"))))
    client.rpush(queue.key, pickled.id)
    broken: dict[str, bytes | str] = {
        "data": b"\xff",
        "created_at": "never",
        "timeout": "x",
        "status": "?",
    }
    for field, value in broken.items():
        client.hset(f"rq:job:broken-{queue_name}", field, value)
    for one in (f"broken-{queue_name}", "missing", "\x00\xff", "*", json.dumps(touch)):
        client.rpush(queue.key, one)


@pytest.mark.parametrize("queue_name", QUEUES)
def test_a_forged_job_runs_nothing_and_the_queue_goes_on(
    working: tuple[SendingRoom, Service], redis: Redis, tmp_path: Path, queue_name: str
) -> None:
    room, service = working
    if queue_name != "releases":
        service.start(queue_name)
    with Client.from_url(redis.url) as client:
        folder = tmp_path / "forged"
        folder.mkdir()
        forge(client, queue_name, folder)
        release_id = room.publish()
        done(room, release_id)
        eventually(lambda: not client.llen(f"rq:queue:{queue_name}"), "all are taken")
    assert list(folder.iterdir()) == []
