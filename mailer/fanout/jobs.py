"""What a worker does: it drains a queue until a signal comes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from types import FrameType

import uvloop

from mailer.config import Settings
from mailer.fanout.delivery.outbox import drain_outbox
from mailer.fanout.delivery.release import drain

SHUTDOWN_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""The signals that end a process."""

_WATCH_SECONDS = 0.1

Drain = Callable[[Settings, asyncio.Event], Awaitable[None]]

DRAINS: dict[str, Drain] = {"letters": drain_outbox, "releases": drain}
"""What is done for a job of each queue, and again and again without Redis."""


class ShutdownFlag:
    """Whether a signal has asked this process to shut down.

    Not a threading.Event: a signal handler that sets one deadlocks if the signal comes while
    the same thread holds the event's lock.
    """

    is_set = False

    def install(self) -> None:
        """Let the signals in SHUTDOWN_SIGNALS set this flag."""
        for number in SHUTDOWN_SIGNALS:
            signal.signal(number, self._set)

    def _set(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True


def run_until_shutdown(drain: Drain, flag: ShutdownFlag) -> None:
    """Run a drain; after a signal it finishes the messages being sent and hands back the rest."""

    async def run() -> None:
        shutdown = asyncio.Event()
        watching = asyncio.create_task(_watch(flag, shutdown))
        await drain(Settings.from_environment(), shutdown)
        watching.cancel()

    # Not the event loop's own handlers: a signal while the loop is closed would be lost.
    flag.install()
    uvloop.run(run())


async def _watch(flag: ShutdownFlag, shutdown: asyncio.Event) -> None:
    while not flag.is_set:
        await asyncio.sleep(_WATCH_SECONDS)
    shutdown.set()
