"""The ledger: one thread through which an event loop reaches the database."""

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

from mailer.storage.database import begin, db, single_statements

T = TypeVar("T")

_AGAIN_AFTER_SECONDS = 0.5
_STAND_STILL_SECONDS = 0.005
_GOODBYE_SECONDS = 1
_TRIES_WHEN_LEAVING = 10

log = logging.getLogger(__name__)


class Abandoned(Exception):
    """The database stayed away until it was time to leave; leases tell what is not done."""


class Ledger:
    """Runs transactions one after another, each until the database has taken it.

    A transaction given here must bear being run twice: when the answer to a COMMIT is lost,
    it is, and its rows must then be the same.
    """

    def __init__(self, leaving: asyncio.Event) -> None:
        self._leaving = leaving
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._context = contextvars.copy_context()
        self._transactions: Connection | None = None
        self._statements: Connection | None = None

    async def transact(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one transaction and return its result, however long it takes.

        Raises Abandoned if it is time to leave and the database stays away.
        """
        return await self.write(partial(_in_session, work))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run bare statements in one transaction, likewise."""
        return await self._insist(partial(self._transaction, work))

    async def state(self, work: Callable[[Connection], T]) -> T:
        """Run statements that are each a transaction of its own, likewise."""
        return await self._insist(partial(self._statement, work))

    async def _insist(self, work: Callable[[], T]) -> T:
        last_tries = _TRIES_WHEN_LEAVING
        while True:
            try:
                return await self._once(work)
            except Exception as error:
                if not _passing(error):
                    raise
                log.warning("The database does not answer: %s. Trying on.", type(error).__name__)
                last_tries -= self._leaving.is_set()
                if not last_tries:
                    raise Abandoned from None
                await asyncio.sleep(_AGAIN_AFTER_SECONDS)

    def close(self) -> None:
        """Let the connection end, and the thread; one that hangs in a transaction is left to it."""
        wait([self._thread.submit(self._hang_up)], timeout=_GOODBYE_SECONDS)
        self._thread.shutdown(wait=False)

    async def _once(self, work: Callable[[], T]) -> T:
        """Run something in the thread, and stand still meanwhile unless it takes long.

        Two threads that both have something to do pass Python's lock to and fro, which costs
        more than the few hundred microseconds that are lost by waiting.
        """
        running = self._thread.submit(self._context.run, work)
        with suppress(TimeoutError):
            return running.result(_STAND_STILL_SECONDS)
        return await asyncio.wrap_future(running)

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        """Run a transaction on a connection of our own, kept until something goes wrong."""
        if self._transactions is None:
            self._transactions = db.engine.connect()
        with self._or_hang_up(), begin(self._transactions):
            return work(self._transactions)

    def _statement(self, work: Callable[[Connection], T]) -> T:
        """Run single statements on another connection, which begins nothing and commits nothing."""
        if self._statements is None:
            self._statements = single_statements()
        with self._or_hang_up():
            return work(self._statements)

    @contextmanager
    def _or_hang_up(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._hang_up()
            raise

    def _hang_up(self) -> None:
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


def _passing(error: Exception) -> bool:
    """Tell whether the database may take the same transaction later."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # What SQLAlchemy would turn into errors of its own, and does not where it is passed by.
    driver = db.engine.dialect.loaded_dbapi
    return isinstance(
        error,
        (OperationalError, InterfaceError, driver.OperationalError, driver.InterfaceError),
    )
