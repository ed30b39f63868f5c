"""Padded durations: how long an answer takes does not show what the request did."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STEP_SECONDS = 0.01
"""Longer than a sign-up takes on a machine that is otherwise idle."""


@contextmanager
def padded_duration() -> Iterator[None]:
    """Run the block, then sleep until its duration is a multiple of 10 ms.

    This hides timing differences.
    """
    began = time.monotonic()
    try:
        yield
    finally:
        time.sleep(padding_after(time.monotonic() - began))


def padding_after(seconds: float) -> float:
    """Return the seconds to sleep after a block that took `seconds`."""
    return -seconds % STEP_SECONDS
