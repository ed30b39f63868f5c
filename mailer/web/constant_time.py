"""The beat: answers that leave at set moments, so that the time they take tells nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

BEAT_SECONDS = 0.01
"""Longer than the work of a sign-up on a machine that has little else to do."""


@contextmanager
def on_the_beat() -> Iterator[None]:
    """Do some work, and go on when it has taken a whole number of beats."""
    began = time.monotonic()
    try:
        yield
    finally:
        time.sleep(wait_after(time.monotonic() - began))


def wait_after(seconds: float) -> float:
    """Return how many seconds are missing to the next beat after so many seconds of work."""
    return -seconds % BEAT_SECONDS
