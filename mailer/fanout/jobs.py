"""The jobs that doorbells start, by names that are a contract: jobs outlive a deploy."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

from mailer.config import Settings
from mailer.fanout.drain import drain
from mailer.fanout.letters import drain_outbox

Work = Callable[[Settings, asyncio.Event], Awaitable[None]]


def drain_releases() -> bool:
    """Send every release that is due; True if a signal asked to leave before the end."""
    return _until_told(drain)


def drain_letters() -> bool:
    """Send every letter in the outbox; True if a signal asked to leave before the end."""
    return _until_told(drain_outbox)


def _until_told(work: Work) -> bool:
    """Do the work; SIGTERM lets it finish what is in hand, and give back the rest."""

    async def run() -> bool:
        leaving = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, leaving.set)
        await work(Settings.from_environment(), leaving)
        return leaving.is_set()

    return asyncio.run(run())
