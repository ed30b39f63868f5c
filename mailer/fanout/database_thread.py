"""The database thread: one thread through which an event loop reaches the database."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from mailer.storage.database import begin, db, is_read_only, statement_connection

T = TypeVar("T")

_AGAIN_AFTER_SECONDS = 0.5
_BLOCK_SECONDS = 0.005
_CLOSE_SECONDS = 1
_TRIES_AT_SHUTDOWN = 10

log = logging.getLogger(__name__)


class Abandoned(Exception):
    """The database did not answer until shutdown; unfinished work is found by its leases."""


class DatabaseThread:
    """Runs transactions one after another, each as often as needed until it is committed.

    When the answer to a COMMIT is lost, the transaction is run again: its rows must then be the
    same as after one run.
    """

    def __init__(self, shutdown: asyncio.Event) -> None:
        self._shutdown = shutdown
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")
        self._context = contextvars.copy_context()
        self._transactions: Connection | None = None
        self._statements: Connection | None = None

    async def run_in_session(self, work: Callable[[Session], T]) -> T:
        """Run `work` with a session in one transaction, and return its result.

        Retries while the database is away; raises Abandoned if it still is at shutdown.
        """
        return await self.run_in_transaction(partial(_in_session, work))

    async def run_in_transaction(self, work: Callable[[Connection], T]) -> T:
        """Run `work` with a connection in one transaction, retried as in `run_in_session`."""
        return await self._until_done(partial(self._transaction, work))

    async def run_statement(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a connection in autocommit mode, for single statements, retried too."""
        return await self._until_done(partial(self._statement, work))

    async def _until_done(self, work: Callable[[], T]) -> T:
        last_tries = _TRIES_AT_SHUTDOWN
        while True:
            try:
                return await self._once(work)
            except Exception as error:
                if not _is_temporary(error):
                    raise
                log.warning("The database does not answer: %s. Trying on.", type(error).__name__)
                last_tries -= self._shutdown.is_set()
                if not last_tries:
                    raise Abandoned from None
                await asyncio.sleep(_AGAIN_AFTER_SECONDS)

    def close(self) -> None:
        """Close the connections and end the thread, unless it hangs in a transaction."""
        wait([self._thread.submit(self._close_connections)], timeout=_CLOSE_SECONDS)
        self._thread.shutdown(wait=False)

    async def _once(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread, blocking the event loop for the first milliseconds.

        Two busy threads hand Python's lock to and fro, which costs more than the few hundred
        microseconds that blocking loses.
        """
        running = self._thread.submit(self._context.run, work)
        with suppress(TimeoutError):
            return running.result(_BLOCK_SECONDS)
        return await asyncio.wrap_future(running)

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        """Run a transaction on a connection that is kept until an error."""
        if self._transactions is None:
            self._transactions = db.engine.connect()
        with self._close_on_error(), begin(self._transactions):
            return work(self._transactions)

    def _statement(self, work: Callable[[Connection], T]) -> T:
        """Run statements on the autocommit connection, which is kept until an error."""
        if self._statements is None:
            self._statements = statement_connection()
        with self._close_on_error():
            return work(self._statements)

    @contextmanager
    def _close_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._close_connections()
            raise

    def _close_connections(self) -> None:
        for connection in (self._transactions, self._statements):
            if connection is not None:
                with suppress(SQLAlchemyError):
                    connection.close()
        self._transactions = self._statements = None


def _in_session(work: Callable[[Session], T], connection: Connection) -> T:
    with Session(connection, expire_on_commit=False) as session:
        result = work(session)
        session.flush()
        return result


def _is_temporary(error: Exception) -> bool:
    """Tell whether the same transaction may succeed later."""
    if is_read_only(error) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return True
    # Errors of the driver itself, from statements that go past SQLAlchemy.
    driver = db.engine.dialect.loaded_dbapi
    return isinstance(
        error,
        (OperationalError, InterfaceError, driver.OperationalError, driver.InterfaceError),
    )
