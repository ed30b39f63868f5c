"""A relay that writes down every message before it answers, as a program to be killed and frozen.

It is started as a script with an address and a port to listen on, the file for its record, and a
seed, and knows nothing of the rest. What it shall do next it is told over SMTP itself, by a command
of its own: `XMOOD busy`.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
import time
from contextlib import suppress

_EHLO = (
    b"250-recorder.example.org\r\n250-PIPELINING\r\n250-SIZE 10485760\r\n250-8BITMIME\r\n"
    b"250-AUTH PLAIN\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
)
_LARGEST_MESSAGE = 10 * 1024 * 1024
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_ONE_CLICK = re.compile(r"<(https?://[^>]+)>")


class Recorder:
    """What all connections share: the record, the mood, the pace."""

    def __init__(self, record: str, seed: str) -> None:
        self._record = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._chance = random.Random(seed)
        self._connections = 0
        self.mood = "well"
        self.share = 0.0
        self.delay = 0.0

    def connected(self) -> int:
        """Count one more connection, and give its number (unique also after a restart)."""
        self._connections += 1
        return os.getpid() * 100_000 + self._connections

    def order(self, words: list[str]) -> None:
        """Follow an order: a mood with its share, or a pace in seconds a message."""
        if words[0] == "DELAY":
            self.delay = float(words[1])
        else:
            self.mood, self.share = words[0].lower(), float(words[1]) if words[1:] else 0.0

    def write(self, connection: int, client: str, recipient: str, message: bytes) -> bool:
        """Write a message down; True if its answer shall be lost."""
        head = _FOLD.sub(b"", message.partition(b"\r\n\r\n")[0]).decode("utf-8", "replace")
        fields = dict(line.partition(": ")[::2] for line in head.split("\r\n"))
        link = _ONE_CLICK.search(fields.get("List-Unsubscribe", ""))
        lost = self.mood == "forgetful" and self._chance.random() < self.share
        line = [
            *(repr(time.time()), str(connection), client, recipient, fields.get("Message-ID", "")),
            *(link[1] if link else "", "lost" if lost else ""),
        ]
        os.write(self._record, ("\t".join(line) + "\n").encode())
        return lost


class _Session:
    """One connection."""

    def __init__(
        self, recorder: Recorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._recorder = recorder
        self._number = recorder.connected()
        self._client: str = writer.get_extra_info("peername")[0]
        self._reader = reader
        self._writer = writer
        self._recipient = ""

    async def run(self) -> None:
        """Talk until the client leaves or is thrown out."""
        with suppress(OSError, asyncio.IncompleteReadError):
            # Even when busy it hears orders: it takes their first line before it says no.
            self._say(self._greeting())
            while line := await self._reader.readline():
                if not await self._answer(line.decode("utf-8", "replace").rstrip("\r\n")):
                    break
                await self._writer.drain()
        self._writer.transport.abort()

    def _greeting(self) -> str:
        if self._recorder.mood == "busy":
            return "421 4.3.2 Too much to do"
        return "220 recorder.example.org ESMTP"

    def _say(self, reply: str) -> None:
        self._writer.write(f"{reply}\r\n".encode())

    async def _answer(self, line: str) -> bool:
        """Answer one command; False ends the connection."""
        verb = line[:4].upper()
        if verb == "DATA" and self._recipient:
            return await self._message()
        if verb == "QUIT":
            self._say("221 2.0.0 Bye")
            await self._writer.drain()
        elif verb == "EHLO":
            self._writer.write(_EHLO)
        elif verb == "XMOO":
            self._recorder.order(line.split()[1:])
            self._say("250 2.0.0 So be it")
        else:
            self._say(self._reply(verb, line))
        return verb != "QUIT"

    def _reply(self, verb: str, line: str) -> str:
        if verb == "DATA":
            return "503 5.5.1 For whom?"
        if verb == "AUTH" and self._recorder.mood == "stranger":
            return "535 5.7.8 Wrong password"
        if verb == "AUTH":
            return "235 2.7.0 Welcome"
        if verb == "RCPT" and self._recorder.mood == "busy":
            return "452 4.3.1 Too much to do"
        self._recipient = line.partition("<")[2].partition(">")[0] if verb == "RCPT" else ""
        return "250 2.0.0 OK"

    async def _message(self) -> bool:
        self._say("354 Go on")
        await self._writer.drain()
        message = await self._reader.readuntil(b"\r\n.\r\n")
        lost = self._recorder.write(self._number, self._client, self._recipient, message)
        self._recipient = ""
        await asyncio.sleep(self._recorder.delay)
        if not lost:
            self._say("250 2.0.0 OK")
        return not lost


async def _serve(address: str, port: int, recorder: Recorder) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: _Session(recorder, reader, writer).run(),
        *(address, port),
        limit=_LARGEST_MESSAGE,
        backlog=1024,
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), Recorder(sys.argv[3], sys.argv[4])))
