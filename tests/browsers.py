"""A real Chromium, for tests and for the gallery."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.servers import find_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a Chromium; as long as it runs, nothing in this thread may call asyncio.run()."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - costs every run without it

    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_program("chromium"), args=flags)
        yield browser
        browser.close()
