"""The worker and Redis, which may die, forget, and come back at any moment."""

from __future__ import annotations

import signal
from collections import Counter

from tests.fanout.press_room import FOLLOWERS, SendingRoom, crowd
from tests.fanout.worker_process import done, held, horse, listening
from tests.processes import alive, eventually
from tests.servers import Redis
from tests.service import Service


def test_redis_may_die_in_the_middle_and_the_same_horse_goes_on(
    working: tuple[SendingRoom, Service], redis: Redis
) -> None:
    room, service = working
    with held(room):
        release_id = room.publish()
        rider = horse(service)
        eventually(lambda: room.relay.connections, "the release goes out")
        redis.kill()
        redis.start()
        assert alive(rider)
    done(room, release_id)
    assert room.received() == Counter(FOLLOWERS)
    done(room, room.publish())
    assert service.processes["releases"].running


def test_redis_may_die_while_nothing_is_to_be_done(
    working: tuple[SendingRoom, Service], redis: Redis
) -> None:
    room, service = working
    redis.kill()
    redis.start()
    done(room, room.publish())
    assert service.processes["releases"].running


def test_redis_may_be_away_from_the_start_and_come_later(
    starts: tuple[SendingRoom, Service], redis: Redis
) -> None:
    room, service = starts
    redis.stop()
    service.start("releases")
    done(room, room.publish())
    redis.start()
    listening(redis)
    done(room, room.publish())
    assert room.received() == Counter([*FOLLOWERS, *FOLLOWERS])


def test_it_leaves_when_told_to_while_redis_is_away(
    starts: tuple[SendingRoom, Service], redis: Redis
) -> None:
    room, service = starts
    redis.stop()
    service.start("releases")
    done(room, room.publish())
    service.kill("releases", signal.SIGTERM)
    assert service.processes["releases"].exit_code == 0


def test_redis_may_forget_everything_all_the_time(
    working: tuple[SendingRoom, Service], redis: Redis
) -> None:
    room, _ = working
    people = crowd(200)
    room.add_followers(*people)
    release_id = room.publish()

    def flushed_and_done() -> bool:
        redis.flush()
        room.sweep()
        return room.receipt(release_id).state == "done"

    eventually(flushed_and_done, "the release is done")
    assert room.received() == Counter([*FOLLOWERS, *people])
