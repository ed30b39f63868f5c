"""The jobs that doorbells start, by names that are a contract: jobs outlive a deploy."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from types import FrameType

import uvloop

from mailer.config import Settings
from mailer.fanout.dispatcher import drain
from mailer.fanout.outbox_delivery import drain_outbox

STOPPING = (signal.SIGTERM, signal.SIGINT)
"""The signals that ask a process to leave."""

_LISTEN_SECONDS = 0.1

Work = Callable[[Settings, asyncio.Event], Awaitable[None]]

WORK: dict[str, Work] = {"letters": drain_outbox, "releases": drain}
"""What the job of each queue does, also for a process that no doorbell can reach."""


class Notice:
    """Whether this process was asked to leave.

    Not a threading.Event: a signal handler that sets one locks up for good if the signal
    comes while the same thread holds the event's lock.
    """

    given = False

    def heed(self) -> None:
        """Take the signals that ask to leave for this notice."""
        for number in STOPPING:
            signal.signal(number, self._give)

    def _give(self, _number: int, _frame: FrameType | None) -> None:
        self.given = True


def drain_releases() -> None:
    """Send every release that is due, unless a signal comes before the end."""
    until_told(WORK["releases"], Notice())


def drain_letters() -> None:
    """Send every letter in the outbox, unless a signal comes before the end."""
    until_told(WORK["letters"], Notice())


def until_told(work: Work, notice: Notice) -> None:
    """Do the work; a signal lets it finish what is in hand, and give back the rest."""

    async def run() -> None:
        leaving = asyncio.Event()
        listening = asyncio.create_task(_listen(notice, leaving))
        await work(Settings.from_environment(), leaving)
        listening.cancel()

    # Not the event loop's own handlers: a signal while the loop is closed would be lost.
    notice.heed()
    uvloop.run(run())


async def _listen(notice: Notice, leaving: asyncio.Event) -> None:
    while not notice.given:
        await asyncio.sleep(_LISTEN_SECONDS)
    leaving.set()
