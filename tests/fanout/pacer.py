"""A process that takes one permit after another, and says when; `test_pace.py` starts several."""

from __future__ import annotations

import asyncio
import signal
import time

from mailer.config import Settings
from mailer.fanout.send_rate import SendRate


async def take_permits() -> None:
    """Say when it begins, and then the time of each permit and how many connections it may hold."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    pace = SendRate(Settings.from_environment())
    chore = asyncio.create_task(pace.run())
    print("began", time.monotonic(), flush=True)
    try:
        while True:
            await pace.permit()
            print("permit", time.monotonic(), pace.connections, flush=True)
    except asyncio.CancelledError:
        chore.cancel()
        await asyncio.gather(chore, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(take_permits())
