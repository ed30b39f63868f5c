"""The jobs that doorbells start, by names that are a contract: jobs outlive a deploy."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable

import uvloop

from mailer.config import Settings
from mailer.fanout.drain import drain
from mailer.fanout.letters import drain_outbox

_LISTEN_SECONDS = 0.1

Work = Callable[[Settings, asyncio.Event], Awaitable[None]]


def drain_releases() -> bool:
    """Send every release that is due; True if a signal asked to leave before the end."""
    return _until_told(drain)


def drain_letters() -> bool:
    """Send every letter in the outbox; True if a signal asked to leave before the end."""
    return _until_told(drain_outbox)


def _until_told(work: Work) -> bool:
    """Do the work; a signal lets it finish what is in hand, and give back the rest."""
    told = threading.Event()

    async def run() -> None:
        leaving = asyncio.Event()
        listening = asyncio.create_task(_listen(told, leaving))
        await work(Settings.from_environment(), leaving)
        listening.cancel()

    # Not the event loop's own handlers: a signal while the loop is closed would be lost.
    before = {
        number: signal.signal(number, lambda _number, _frame: told.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        uvloop.run(run())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return told.is_set()


async def _listen(told: threading.Event, leaving: asyncio.Event) -> None:
    while not told.is_set():
        await asyncio.sleep(_LISTEN_SECONDS)
    leaving.set()
