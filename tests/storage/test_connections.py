"""How long PostgreSQL and we wait for each other when a network goes away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import InternalError

from tests.conftest import Databases
from tests.processes import eventually


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh("postgresql") as url:
        yield url


@pytest.mark.processes
def test_neither_side_waits_for_ever_and_the_url_may_choose_otherwise(url: str) -> None:
    engine = create_engine(f"{url}?connect_timeout=7")
    with engine.connect() as connection:
        assert connection.connection.driver_connection is not None
        chosen = connection.connection.driver_connection.info.get_parameters()
        assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == "10s"
    engine.dispose()
    assert chosen["connect_timeout"] == "7"
    assert chosen["tcp_user_timeout"] == "10000"


@pytest.mark.processes
def test_a_transaction_that_stands_still_is_ended_and_known_to_be_lost(url: str) -> None:
    engine = create_engine(f"{url}?options=-c idle_in_transaction_session_timeout=100ms")
    with engine.connect() as still, engine.connect() as other:
        other.execution_options(isolation_level="AUTOCOMMIT")
        pid = still.scalar(text("SELECT pg_backend_pid()"))
        there = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        eventually(lambda: other.scalar(there, {"pid": pid}) == 0, "the server ends it")
        with pytest.raises(InternalError) as lost:
            still.execute(text("SELECT 1"))
        assert lost.value.connection_invalidated
    engine.dispose()


@pytest.mark.processes
def test_a_connection_that_the_server_has_closed_is_not_used_again(url: str) -> None:
    engine, other = create_engine(url), create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    with other.connect() as operator:
        operator.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        there = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        eventually(lambda: operator.scalar(there, {"pid": pid}) == 0, "the server ends it")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) != pid
    engine.dispose()
    other.dispose()


@pytest.mark.processes
def test_a_connection_that_was_closed_here_is_not_used_again(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        ours = connection.connection.dbapi_connection
    assert ours is not None
    ours.close()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()
