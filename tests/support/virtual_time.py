"""A virtual clock: an event loop whose time jumps to the next timer, and databases that follow it.

Time stands still while code or a statement runs. It is the same for asyncio, for `time.monotonic`,
for the clock of SQLite, and for `now` of the domain, so that two days of retries take no time.
"""

from __future__ import annotations

import asyncio
import selectors
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NoReturn

import pytest
from sqlalchemy import Engine, event

from mailer.config import TEMPLATES
from mailer.mail import composer
from mailer.storage import types
from tests.support.composers import ComposerHere

BEGINNING = datetime(2026, 11, 28, 9, tzinfo=UTC)
_FORMAT = "%Y-%m-%d %H:%M:%f"
_MILLISECONDS_A_DAY = 86_400_000
# SQLite counts milliseconds since noon of 24 November 4714 BC.
_MILLISECONDS_1970 = 210_866_760_000_000
_READ_ANOTHER_CLOCK = (
    *("date", "time", "datetime", "unixepoch", "timediff"),
    *("current_date", "current_time", "current_timestamp"),
)
"""The other functions by which SQLite tells the time, and the keywords, which are functions too."""


class VirtualClock:
    """The seconds that have passed since BEGINNING, for everything that asks for the time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.error: Callable[[], float] = lambda: 0.0
        """By how many seconds the clock of the machine is wrong on which code runs now."""
        self._misread: list[str] = []

    def monotonic(self) -> float:
        """Return the virtual seconds, in place of `time.monotonic`."""
        return self.seconds

    def now(self) -> datetime:
        """Return the time of a machine, in place of `mailer.storage.types.now`."""
        return BEGINNING + timedelta(seconds=self.seconds + self.error())

    def _database_now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.seconds)

    @contextmanager
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Let Python and every new SQLite connection read this clock.

        A statement that would read SQLite's clock in another way than the project does raises
        OperationalError. The service may catch that, so AssertionError follows at the end.
        """
        real_now = types.now
        with monkeypatch.context() as patched:
            patched.setattr(time, "monotonic", self.monotonic)
            # No thread is ever busy while the time stands still.
            patched.setattr(time, "thread_time", lambda: 0.0)
            patched.setattr(composer, "shared", ComposerHere(TEMPLATES))
            for name, module in list(sys.modules.items()):
                if name.startswith("mailer.") and getattr(module, "now", None) is real_now:
                    patched.setattr(module, "now", self.now)
            event.listen(Engine, "connect", self._set_sqlite_clock)
            try:
                yield
            finally:
                event.remove(Engine, "connect", self._set_sqlite_clock)
        assert not self._misread, f"no virtual time for these: {self._misread}"

    def _set_sqlite_clock(self, connection: Any, _record: object) -> None:
        """Replace the SQL functions by which statements read SQLite's clock."""
        if isinstance(connection, sqlite3.Connection):
            connection.create_function("julianday", -1, self._julianday)
            connection.create_function("strftime", -1, self._strftime)
            for name in _READ_ANOTHER_CLOCK:
                connection.create_function(name, -1, partial(self._refuse, name))

    def _julianday(self, *arguments: object) -> float:
        """Count days with the digits that SQLite has: it knows milliseconds."""
        if arguments != ("now",):
            self._refuse("julianday", *arguments)
        since = self._database_now() - datetime(1970, 1, 1, tzinfo=UTC)
        passed = since // timedelta(milliseconds=1)
        return (_MILLISECONDS_1970 + passed) / _MILLISECONDS_A_DAY

    def _strftime(self, *arguments: object) -> str:
        """Write the time with the digits that SQLite writes, three behind the point."""
        if arguments != (_FORMAT, "now"):
            self._refuse("strftime", *arguments)
        return self._database_now().replace(tzinfo=None).isoformat(" ", "milliseconds")

    def _refuse(self, name: str, *arguments: object) -> NoReturn:
        """Raise, rather than tell the real time or a wrong one."""
        self._misread.append(f"{name}{arguments}")
        raise NotImplementedError(self._misread[-1])


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on the virtual clock, whose connections are made in memory."""

    def __init__(self, clock: VirtualClock, connect: Callable[[asyncio.Protocol], None]) -> None:
        super().__init__(_JumpingSelector(clock))
        self._clock = clock
        self._connect = connect

    def time(self) -> float:
        """Return the virtual seconds."""
        return self._clock.seconds

    async def create_connection(  # type: ignore[override]  # of its many ways only this one is used
        self, protocol_factory: Callable[[], asyncio.Protocol], *_: Any, **__: Any
    ) -> tuple[asyncio.BaseTransport | None, asyncio.Protocol]:
        """Connect a protocol to the server in memory; raises OSError as a network does."""
        protocol = protocol_factory()
        self._connect(protocol)
        return None, protocol

    def run_in_executor(  # type: ignore[override]  # there are no threads: the call is made at once
        self, _executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call a function that would run in a thread, while the time stands still."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - the future raises it
            future.set_exception(error)
        return future


class _JumpingSelector(selectors.BaseSelector):
    """Waits for nothing: where a selector would wait for a timer, the clock jumps to it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, or turn the clock by the timeout."""
        if ready := self._real.select(0):
            return ready
        if timeout is None:
            raise RuntimeError("Every task waits for something that no timer will bring.")
        self._clock.seconds += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Register a file, of which the loop has one, by which signals wake it."""
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Unregister a file."""
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return the registered files."""
        return self._real.get_map()

    def close(self) -> None:
        """Close the selector."""
        self._real.close()
