"""The database of a world, which can be away or take no writing for some time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from tests.support.virtual_time import VirtualClock

WRITES = ("INSERT", "UPDATE", "DELETE", "BEGIN IMMEDIATE")
_BEGIN = "BEGIN"


class Database:
    """Refuses statements while it is away, and knows whether it was written to."""

    def __init__(self, clock: VirtualClock) -> None:
        self.was_written = False
        self._clock = clock
        self._until = 0.0
        self._refused: tuple[str, ...] = ()

    def leave(self, seconds: float, statements: tuple[str, ...] = ("",)) -> None:
        """Take no statements that begin so, or none at all, for some seconds."""
        self._until = self._clock.seconds + seconds
        self._refused = statements

    @property
    def is_there(self) -> bool:
        """Whether all statements are taken."""
        return self._clock.seconds >= self._until

    async def is_back(self) -> None:
        """Wait until all statements are taken."""
        while not self.is_there:
            await asyncio.sleep(self._until - self._clock.seconds)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Let every statement ask whether it is taken."""
        event.listen(Engine, "before_cursor_execute", self._ask)
        try:
            yield
        finally:
            event.remove(Engine, "before_cursor_execute", self._ask)

    def _ask(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        words = statement.lstrip().upper()
        self.was_written |= not words.startswith(("SELECT", _BEGIN))
        if not self.is_there and words.startswith(self._refused):
            raise OperationalError(statement, {}, sqlite3.OperationalError("disk I/O error"))
