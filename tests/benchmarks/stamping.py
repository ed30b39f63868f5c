"""A small SMTP server that notes when it accepted a message for whom, and takes its time if told.

    python -m tests.benchmarks.stamping PORT FILE SECONDS

Each line of the file is a moment of the machine's monotonic clock and a recipient; SECONDS is how
long every message rests before it is accepted, while its connection waits.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TextIO, cast

_HELLO = b"250-stamping\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
_END = b"\r\n.\r\n"


class _Session(asyncio.Protocol):
    """One connection; nothing is looked at while a message rests."""

    def __init__(self, stamps: TextIO, rest: float) -> None:
        self._stamps = stamps
        self._rest = rest
        self._heard = bytearray()
        self._in_body = False
        self._resting = False
        self._recipient = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 stamping\r\n")

    def data_received(self, data: bytes) -> None:
        self._heard += data
        self._go_on()

    def _go_on(self) -> None:
        while not self._resting and (self._body() if self._in_body else self._command()):
            pass

    def _command(self) -> bool:
        line, end, rest = self._heard.partition(b"\r\n")
        if not end:
            return False
        self._heard = rest
        verb = bytes(line[:4]).upper()
        if verb == b"RCPT":
            self._recipient = line.partition(b"<")[2].partition(b">")[0].decode()
        elif verb == b"DATA":
            self._in_body = True
            # What ends a body is a line, also when it is the first.
            self._heard[:0] = b"\r\n"
        replies = {b"EHLO": _HELLO, b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}
        self._transport.write(replies.get(verb, b"250 2.0.0 ok\r\n"))
        return True

    def _body(self) -> bool:
        end = self._heard.find(_END)
        if end < 0:
            return False
        del self._heard[: end + len(_END)]
        self._in_body = False
        if self._rest:
            self._resting = True
            asyncio.get_running_loop().call_later(self._rest, self._rested)
        else:
            self._accept()
        return True

    def _rested(self) -> None:
        self._resting = False
        self._accept()
        self._go_on()

    def _accept(self) -> None:
        self._stamps.write(f"{time.monotonic()} {self._recipient}\n")
        self._transport.write(b"250 2.0.0 taken\r\n")


async def _serve(port: int, file: str, rest: float) -> None:
    loop = asyncio.get_running_loop()
    # Each line is written at once, since whoever measures reads along.
    with Path(file).open("w", buffering=1) as stamps:
        server = await loop.create_server(
            lambda: _Session(stamps, rest), "127.0.0.1", port, backlog=1024
        )
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
