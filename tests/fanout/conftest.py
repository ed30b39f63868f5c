"""What the tests of the fan-out may ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Databases
from tests.fanout.press_room import FOLLOWERS, SendingRoom, open_sending_room
from tests.fanout.worker_process import SHORT, listening
from tests.relay import Relay
from tests.servers import Redis
from tests.service import Service, contract
from tests.support.scripted_relay import Script, ScriptedRelay
from tests.support.sending import Playing, Sending
from tests.support.world import World, world


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Both kinds, because what is tested here is SQL."""
    return str(request.param)


@pytest.fixture
def empty_room(environment: dict[str, str], relay: Relay) -> Iterator[SendingRoom]:
    """A press room that nobody follows yet, on both kinds of database; one connection."""
    with open_sending_room(environment, relay) as room:
        yield room


@pytest.fixture
def room(empty_room: SendingRoom) -> SendingRoom:
    """A press room followed by Ada, Bob, Cai, Dag and Eva."""
    empty_room.add_followers(*FOLLOWERS)
    return empty_room


@pytest.fixture
def postgresql_room(databases: Databases, redis: Redis, relay: Relay) -> Iterator[SendingRoom]:
    """The same, on PostgreSQL alone, for a test that does something to the server."""
    with databases.fresh("postgresql") as url:
        environment = contract(database_url=url, redis_url=redis.url, smtp_url=relay.url)
        with open_sending_room(environment, relay) as room:
            room.add_followers(*FOLLOWERS)
            yield room


@pytest.fixture
def sqlite_room(
    databases: Databases, redis: Redis, relay: Relay
) -> Iterator[tuple[SendingRoom, dict[str, str]]]:
    """A press room on SQLite alone, for what does not depend on the database, and its contract."""
    with databases.fresh("sqlite") as url:
        environment = contract(database_url=url, redis_url=redis.url, smtp_url=relay.url) | SHORT
        with open_sending_room(environment, relay) as room:
            room.add_followers(*FOLLOWERS)
            yield room, environment


@pytest.fixture
def starts(
    sqlite_room: tuple[SendingRoom, dict[str, str]], tmp_path: Path
) -> Iterator[tuple[SendingRoom, Service]]:
    """That press room, and a worker for its releases that has not been started yet."""
    room, environment = sqlite_room
    service = Service(environment, tmp_path)
    try:
        yield room, service
        service.stop()
    finally:
        service.abandon()


@pytest.fixture
def working(starts: tuple[SendingRoom, Service], redis: Redis) -> tuple[SendingRoom, Service]:
    """The same with the worker running, and waiting for jobs."""
    room, service = starts
    service.start("releases")
    listening(redis)
    return room, service


@pytest.fixture
def playing(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Playing:
    """Play a story: followers, one release, some workers, and a relay with a script."""

    def play(
        answers: Script,
        followers: list[str],
        story: Callable[[Sending], Awaitable[Any]],
        workers: int = 1,
        relay: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Any:
        settings = {"connections": 16, **settings}
        make = lambda clock: ScriptedRelay(clock, answers, **(relay or {}))  # noqa: E731
        with world(migrated, monkeypatch, make, **settings) as made:
            made.room.add_followers(*followers)

            async def run(running: World) -> Any:
                for _ in range(workers):
                    running.start_worker()
                return await story(Sending(running, running.room.publish()))

            return made.run(run)

    return play
