"""A process that takes permits one after another, and prints when; test_send_rate.py starts it."""

from __future__ import annotations

import asyncio
import signal
import time

from mailer.config import Settings
from mailer.fanout.answers.send_rate import SendRate


async def take_permits() -> None:
    """Say when it begins, and then the time of each permit and how many connections it may hold."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    send_rate = SendRate(Settings.from_environment(), asyncio.Event())
    chore = asyncio.create_task(send_rate.run())
    print("began", time.monotonic(), flush=True)
    try:
        while True:
            await send_rate.permit()
            print("permit", time.monotonic(), send_rate.connections, flush=True)
    except asyncio.CancelledError:
        chore.cancel()
        await asyncio.gather(chore, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(take_permits())
