"""The canary: an address in a log of ours is a defect, in whichever test it shows."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

_ADDRESS = re.compile(r"[\w.+-]+@(?:[\w-]+\.)+[a-z]{2,}")
_NOT_OURS = {"mail.log"}  # the SMTP server of the tests says who writes to whom


def addresses(log: str) -> list[str]:
    """Find the addresses in a log."""
    return _ADDRESS.findall(log)


class Canary(logging.Handler):
    """Listens to everything that is logged in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Note the addresses in a record, its traceback included."""
        if record.name not in _NOT_OURS:
            self.heard += addresses(self._formatter.format(record))


@contextmanager
def canary() -> Iterator[Canary]:
    """Listen for a while."""
    listening = Canary()
    logging.getLogger().addHandler(listening)
    try:
        yield listening
    finally:
        logging.getLogger().removeHandler(listening)
