"""The worker and a Redis that hangs; by itself, because it is a long wait for nothing."""

from __future__ import annotations

import signal
from collections import Counter

from tests.fanout.press_room import FOLLOWERS, SendingRoom
from tests.fanout.worker_process import done
from tests.processes import eventually
from tests.servers import Redis
from tests.service import Service


def test_a_frozen_redis_holds_up_neither_who_publishes_nor_the_release(
    working: tuple[SendingRoom, Service], redis: Redis
) -> None:
    room, _ = working
    redis.freeze()
    release_id = room.publish()
    done(room, release_id, patience=90)
    redis.thaw()
    assert room.received() == Counter(FOLLOWERS)


def test_it_leaves_when_told_to_before_it_has_reached_redis(
    starts: tuple[SendingRoom, Service], redis: Redis
) -> None:
    _, service = starts
    worker = service.processes["releases"]
    redis.freeze()
    service.start("releases")
    worker.signal(signal.SIGTERM)
    redis.thaw()
    eventually(lambda: not worker.running, "the worker leaves", 25)
    assert worker.exit_code == 0
