"""A hand-written SMTP server for one connection: what it says, and what it was told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mailer.relay import Relay

HELLO = b"250-relay.example.org\r\n250 ENHANCEDSTATUSCODES\r\n"
OFFERS = b"250-relay.example.org\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250 SMTPUTF8\r\n"
REPLIES: Mapping[str, bytes] = {
    "banner": b"220 relay.example.org\r\n",
    "EHLO": HELLO,
    "MAIL": b"250 2.1.0 OK\r\n",
    "RCPT": b"250 2.1.5 OK\r\n",
    "DATA": b"354 Go on\r\n",
    ".": b"250 2.0.0 Taken\r\n",
    "RSET": b"250 2.0.0 OK\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}


@dataclass
class Lines:
    """The script by verb (None is silence, empty bytes hang up), and what was heard."""

    replies: Mapping[str, bytes | None]
    tls: ssl.SSLContext | None = None
    slowly: bool = False
    quiet: tuple[str, str] | None = None
    """From the first verb on nothing is said, until all of it is after the second."""
    heard: list[str] = field(default_factory=list)
    port: int = 0
    _kept: bytes | None = None

    def relay(self, security: str = "none", user: str | None = None, word: str = "") -> Relay:
        """Describe it as a setting does."""
        return Relay.model_validate(
            {
                "host": "localhost",
                "port": self.port,
                "security": security,
                "user": user,
                "password": word,
            }
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the client has hung up, or the test is over
        finally:
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._say(writer, "banner"):
            return
        body = False
        while raw := await reader.readline():
            line = raw.decode().rstrip("\r\n")
            if body and line != ".":
                continue
            self.heard.append(line)
            verb = line.partition(" ")[0].upper()
            body = verb == "DATA" and (self.replies.get("DATA") or b"").startswith(b"354")
            if not await self._say(writer, verb):
                return
            if verb == "STARTTLS" and self.tls is not None:
                await writer.start_tls(self.tls)

    async def _say(self, writer: asyncio.StreamWriter, verb: str) -> bool:
        reply = self.replies.get(verb, b"500 5.5.1 What?\r\n")
        if reply is None:
            await asyncio.Event().wait()
        if self.quiet is not None and verb == self.quiet[0]:
            self._kept = b""
        if self._kept is not None:
            self._kept += reply or b""
            if self.quiet is None or verb != self.quiet[1]:
                return True
            reply, self._kept, self.quiet = self._kept, None, None
        for piece in [bytes([one]) for one in reply or b""] if self.slowly else [reply or b""]:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return bool(reply)


@asynccontextmanager
async def speaking(
    changes: Mapping[str, bytes | None] = REPLIES,
    *,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    slowly: bool = False,
) -> AsyncIterator[Lines]:
    """Serve with some replies changed."""
    lines = Lines({**REPLIES, **changes}, tls, slowly)
    server = await asyncio.start_server(lines.serve, "localhost", 0, ssl=tls if implicit else None)
    lines.port = server.sockets[0].getsockname()[1]
    others = asyncio.all_tasks()
    try:
        yield lines
    finally:
        server.close()
        for task in asyncio.all_tasks() - others:
            task.cancel()
            await asyncio.wait([task])
