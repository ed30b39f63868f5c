"""The worker as a process: what RQ would get wrong."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from mailer.storage.models import Batch
from mailer.storage.queues import has_worker
from tests.conftest import Databases
from tests.fanout.press_room import SendingRoom, crowd, open_sending_room
from tests.fanout.worker_process import SHORT, done, held, horse
from tests.processes import alive, eventually
from tests.relay import Relay
from tests.servers import PostgreSQL, Redis
from tests.service import Service, contract


def test_it_listens_on_one_queue_only(working: tuple[SendingRoom, Service], redis: Redis) -> None:
    assert [has_worker(redis.url, one) for one in ("releases", "letters")] == [True, False]


def test_it_has_imported_the_service_before_it_forks(
    working: tuple[SendingRoom, Service],
) -> None:
    _, service = working
    assert "css_inline" in Path(f"/proc/{service.pid('releases')}/maps").read_text()


def test_its_horse_dies_with_it(working: tuple[SendingRoom, Service]) -> None:
    room, service = working
    with held(room):
        room.publish()
        rider = horse(service)
        eventually(lambda: room.relay.silences, "Bob's message waits")
        os.kill(service.pid("releases"), signal.SIGKILL)
        eventually(lambda: not alive(rider), "the horse is gone")
        service.processes["releases"].wait()


@pytest.mark.parametrize("with_redis", [True, False])
def test_it_gives_back_its_batches_when_it_is_told_to_leave(
    environment: dict[str, str], relay: Relay, redis: Redis, tmp_path: Path, with_redis: bool
) -> None:
    people = crowd(400)
    environment |= SHORT | ({} if with_redis else {"REDIS_URL": ""})
    with (
        open_sending_room(environment, relay) as room,
        Service.running(environment, tmp_path, names=("releases",)) as service,
    ):
        room.add_followers(*people)
        release_id = room.publish()
        relay.wait_for(20)
        service.kill("releases", signal.SIGTERM)
        assert service.processes["releases"].exit_code == 0
        assert not any(batch.lease_until for batch in room.rows(Batch) if batch.open)
        assert room.receipt(release_id).accepted == room.received().total()
        service.start("releases")
        room.sweep()
        done(room, release_id)
        assert room.received() == Counter(people)
        assert room.receipt(release_id).uncertain == 0


def test_it_leaves_when_told_to_while_the_database_is_away(
    databases: Databases, postgresql: PostgreSQL, relay: Relay, tmp_path: Path
) -> None:
    with databases.fresh("postgresql") as url:
        environment = contract(database_url=url, redis_url="", smtp_url=relay.url) | SHORT
        with Service.running(environment, tmp_path, names=("releases",)) as service:
            worker = service.processes["releases"]
            postgresql.stop()
            eventually(lambda: "does not answer" in worker.log, "the worker has noticed")
            worker.signal(signal.SIGTERM)
            eventually(lambda: not worker.running, "the worker leaves", 25)
            assert worker.exit_code == 0
