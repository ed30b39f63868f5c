"""The beat: answers that leave at set moments, so that the time they take tells nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STEP_SECONDS = 0.01
"""Longer than the work of a sign-up on a machine that has little else to do."""


@contextmanager
def padded_duration() -> Iterator[None]:
    """Do some work, and go on when it has taken a whole number of beats."""
    began = time.monotonic()
    try:
        yield
    finally:
        time.sleep(padding_after(time.monotonic() - began))


def padding_after(seconds: float) -> float:
    """Return how many seconds are missing to the next beat after so many seconds of work."""
    return -seconds % STEP_SECONDS
