"""A database that is away for a while: the caller is asked to come again, and may."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.problems import problem
from tests.conftest import Databases
from tests.servers import PostgreSQL
from tests.support.press_room import PressRoom, open_press_room
from tests.support.publishing_system import RELEASES
from tests.support.releases import RELEASE


@pytest.fixture
def on_postgresql(databases: Databases, postgresql: PostgreSQL) -> Iterator[PressRoom]:
    with databases.fresh("postgresql") as url, open_press_room(url) as room:
        yield room


def test_a_call_is_asked_to_come_again_and_then_works(
    on_postgresql: PressRoom, postgresql: PostgreSQL
) -> None:
    first = on_postgresql.post_release()
    postgresql.stop()
    for path in ("/1", "/1/receipt"):
        problem(on_postgresql.call("GET", f"{RELEASES}{path}"), 503)
    answer = on_postgresql.post_release()
    problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    postgresql.start()
    again = on_postgresql.post_release()
    assert (again.status_code, again.data) == (202, first.data)


def test_nothing_of_the_database_is_told(on_postgresql: PressRoom, postgresql: PostgreSQL) -> None:
    postgresql.stop()
    answer = on_postgresql.post_release()
    for inside in ("psycopg", "postgres", "127.0.0.1", str(postgresql.port), RELEASE["title"]):
        assert inside not in answer.text


def test_the_process_lives_without_its_database_and_says_that_it_is_not_ready(
    on_postgresql: PressRoom, postgresql: PostgreSQL
) -> None:
    assert on_postgresql.call("GET", "/readyz").status_code == 200
    postgresql.stop()
    assert on_postgresql.call("GET", "/healthz").status_code == 200
    assert on_postgresql.call("GET", "/readyz").status_code == 503
    postgresql.start()
    assert on_postgresql.call("GET", "/readyz").status_code == 200


def test_a_connection_that_was_cut_is_nobodys_business(
    on_postgresql: PressRoom, postgresql: PostgreSQL
) -> None:
    first = on_postgresql.post_release()
    postgresql.stop()
    postgresql.start()
    assert on_postgresql.post_release().data == first.data
