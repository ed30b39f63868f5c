"""The ledger: one thread through which an event loop reaches the database."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from mailer.storage.database import reading, stating, writing

T = TypeVar("T")
S = TypeVar("S")
Kind = Callable[[], AbstractContextManager[S]]

_AGAIN_AFTER_SECONDS = 0.5
_STAND_STILL_SECONDS = 0.005
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

    async def transact(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one transaction and return its result, however long it takes.

        Raises Abandoned if it is time to leave and the database stays away.
        """
        return await self._insist(writing, work)

    async def state(self, work: Callable[[Connection], T]) -> T:
        """Run bare statements in one transaction, likewise."""
        return await self._insist(stating, work)

    async def look(self, work: Callable[[Session], T]) -> T:
        """Run what only reads, likewise."""
        return await self._insist(reading, work)

    async def _insist(self, kind: Kind[S], work: Callable[[S], T]) -> T:
        last_tries = _TRIES_WHEN_LEAVING
        while True:
            try:
                return await self._once(kind, work)
            except (OperationalError, InterfaceError, DBAPIError) as error:
                if not _passing(error):
                    raise
                log.warning("The database does not answer: %s. Trying on.", type(error).__name__)
                last_tries -= self._leaving.is_set()
                if not last_tries:
                    raise Abandoned from None
                await asyncio.sleep(_AGAIN_AFTER_SECONDS)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _once(self, kind: Kind[S], work: Callable[[S], T]) -> T:
        """Run a transaction in the thread, and stand still meanwhile unless it takes long.

        Two threads that both have something to do pass Python's lock to and fro, which costs
        more than the few hundred microseconds that are lost by waiting.
        """
        running = self._thread.submit(self._context.run, _run, kind, work)
        wait([running], timeout=_STAND_STILL_SECONDS)
        return running.result() if running.done() else await asyncio.wrap_future(running)


def _run(kind: Kind[S], work: Callable[[S], T]) -> T:
    with kind() as access:
        return work(access)


def _passing(error: DBAPIError) -> bool:
    """Tell whether the database may take the same transaction later."""
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
