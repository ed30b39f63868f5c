"""What can happen to the database: it dies, is away, is full, is held up, or is an old copy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from tests.faults.inserts import open_postgresql, open_sqlite
from tests.faults.trial import LONG, Trial
from tests.servers import PostgreSQL
from tests.support.publishing_system import Refused
from tests.support.trial import Parts

DOWN_SECONDS, DOWN_LEASE_SECONDS = (300, 60) if LONG else (4, 2)
_PIECES_OF_LOG = 64
"""Of 16 MiB each, as many as PostgreSQL keeps: `max_wal_size` is 1 GiB."""
_HELD_SECONDS = 4


def server(trial: Trial) -> PostgreSQL:
    """Give the PostgreSQL of a trial."""
    assert trial.parts.postgresql is not None, "this fault is for PostgreSQL"
    return trial.parts.postgresql


def kill_postgresql(trial: Trial) -> None:
    """Kill the postmaster, and start it again: it recovers what was committed."""
    server(trial).kill()
    server(trial).start()


def cut_connections(trial: Trial) -> None:
    """End every connection, as an administrator would."""
    server(trial).cut_connections(Path(trial.parts.database_url).name)


def stop_postgresql(trial: Trial) -> None:
    """Stop PostgreSQL for longer than a lease."""
    server(trial).stop()
    trial.last(DOWN_SECONDS)
    server(trial).start()


def fill_disk(trial: Trial) -> None:
    """Leave the database no room: publishing is refused, sending stops; then make room."""
    disk, postgresql = trial.parts.disk, trial.parts.postgresql
    assert disk is not None, "this fault is for a database on a disk of its own"
    if postgresql is None:
        with closing(open_sqlite(trial.parts)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with disk.full():
        if postgresql is not None:
            _want_a_new_log(trial.parts)
        trial.relay.quiet()
        with pytest.raises(Refused, match="503"):
            trial.publishing.publish(f"full-{trial.story.strikes}", notify=False)
    if postgresql is not None:
        # Without room for its log it ends, and is started again by whoever made room.
        postgresql.start()


def _want_a_new_log(parts: Parts) -> None:
    """Let PostgreSQL need a piece of the disk that it does not have: it ends rather than forget."""
    with suppress(psycopg.OperationalError), open_postgresql(parts) as connection:
        # It has kept pieces from before, and writes those again first.
        for _ in range(_PIECES_OF_LOG):
            connection.execute("SELECT pg_logical_emit_message(false, 'full', '')")
            connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")


def hold_writer(trial: Trial) -> None:
    """Hold SQLite's one place for a writer; who publishes in the meantime waits, and gets in."""
    with closing(open_sqlite(trial.parts)) as connection, ThreadPoolExecutor(1) as thread:
        connection.execute("BEGIN EXCLUSIVE")
        call = thread.submit(trial.publishing.publish, f"held-{trial.story.strikes}", notify=False)
        trial.last(_HELD_SECONDS)
        assert not call.done(), "nothing was held up"
        connection.execute("ROLLBACK")
        call.result()
