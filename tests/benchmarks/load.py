"""Visitors who fill in a form, so many at a time, each as soon as the answer before is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlencode

PATIENCE_SECONDS = 60


def post(port: int, path: str, addresses: Iterable[str], visitors: int) -> list[float]:
    """Post a form for each address, and tell how many seconds each answer took.

    AssertionError for any answer but 202.
    """
    return asyncio.run(_post(port, path, iter(addresses), visitors))


async def _post(port: int, path: str, addresses: Iterator[str], visitors: int) -> list[float]:
    seconds: list[float] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(visitors):
            group.create_task(_visitor(port, path, addresses, seconds))
    return seconds


async def _visitor(port: int, path: str, addresses: Iterator[str], seconds: list[float]) -> None:
    """Ask over one connection; all visitors take from the same addresses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for address in addresses:
        body = urlencode({"address": address, "locale": "nb"})
        began = time.perf_counter()
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(None, 1)[0])
            await reader.readexactly(length)
        seconds.append(time.perf_counter() - began)
        assert head.split(None, 2)[1] == b"202", head
    writer.close()
