"""Chores: what has to go on beside the work, for as long as the work lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast


@asynccontextmanager
async def beside(*chores: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Keep chores running while the work is done; a chore that breaks ends the work."""
    work = cast("asyncio.Task[Any]", asyncio.current_task())
    tasks = [asyncio.create_task(chore) for chore in chores]

    def end_work(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            work.cancel()

    for task in tasks:
        task.add_done_callback(end_work)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
