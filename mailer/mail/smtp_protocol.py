"""The octets of one SMTP connection: parses replies, and waits for each with a time limit."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, cast

Stage = Literal["connect", "auth", "mail", "rcpt", "data", "dot"]

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?=\s|$)")
_LINE = re.compile(r"([2-5][0-9]{2})(?:[ -]|$)")
_LONGEST_REPLY_OCTETS = 1 << 16
_LONGEST_REPLY_LINES = 100
_SHORT_OCTETS = 512


@dataclass(frozen=True)
class Reply:
    """A server's reply: its code, its enhanced status code if it gave one, and its text.

    The same reply comes thousands of times, so objects are shared and their properties cached.
    """

    code: int
    enhanced: str | None
    text: str

    @cached_property
    def positive(self) -> bool:
        """Whether the reply is 2yz or 3yz."""
        return self.code // 100 in (2, 3)

    @cached_property
    def completed(self) -> bool:
        """Whether the reply is 2yz: the command is completed."""
        return self.code // 100 == 2  # noqa: PLR2004 - the RFC's own digit

    @cached_property
    def continues(self) -> bool:
        """Whether the reply is 3yz: the server waits for the rest."""
        return self.code // 100 == 3  # noqa: PLR2004 - the RFC's own digit

    @cached_property
    def permanent(self) -> bool:
        """Whether the reply is 5yz: the same command would get the same reply again."""
        return self.code // 100 == 5  # noqa: PLR2004 - the RFC's own digit

    @cached_property
    def status(self) -> str:
        """The enhanced status code (RFC 3463), or the plain code where there is none."""
        return self.enhanced or str(self.code)


class SmtpError(Exception):
    """The message was not handed over; `stage` is the step that failed."""

    def __init__(self, stage: Stage, sentence: str) -> None:
        super().__init__(sentence)
        self.stage: Stage = stage


class Rejected(SmtpError):
    """The server refused; the connection can still be used for the next message."""

    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(stage, f"{reply.code} {reply.text}")
        self.reply = reply


class Unanswered(SmtpError):
    """The connection is lost, or the reply did not come in time."""


class SmtpProtocol(asyncio.Protocol):
    """The two directions of one connection: octets out, replies in.

    One coroutine at a time waits, always with a limit. One timer watches the limit and is seldom
    set again, since at thousands of messages a second each wait is short.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._replies: deque[Reply] = deque()
        self._rest = b""
        self._ended: str | None = None
        self._full = False
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport
        self.connected_at = 0.0

    def write(self, data: bytes) -> None:
        """Send octets; on a lost connection, only the wait for a reply raises."""
        # Writing to a closed transport of uvloop raises an exception of uvloop's own.
        if self._ended is None and not self.transport.is_closing():
            self.transport.write(data)

    def next_reply(self) -> Reply | None:
        """Return the next reply if it has arrived already, else None."""
        return self._replies.popleft() if self._replies else None

    async def reply(self, stage: Stage, seconds: float) -> Reply:
        """Return the next reply; raises Unanswered if none comes in time or none can come."""
        if not self._replies:
            await self._until(lambda: bool(self._replies), stage, seconds)
        return self._replies.popleft()

    async def drained(self, stage: Stage, seconds: float) -> None:
        """Wait until the server has taken most of what was written; raises Unanswered."""
        if self._full:
            await self._until(lambda: not self._full, stage, seconds)

    @property
    def has_unread(self) -> bool:
        """Whether the server has sent octets that no caller has taken as a reply."""
        return bool(self._replies or self._rest)

    def abort(self) -> None:
        """Close at once; octets that were not sent yet are dropped."""
        self._end("We closed the connection.")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport of a new connection, or the encrypted one after STARTTLS."""
        # Each event loop has its own transport class.
        self.transport = cast("asyncio.Transport", transport)
        self.connected_at = time.monotonic()

    def data_received(self, data: bytes) -> None:
        """Queue the complete replies, and keep the beginning of the next one."""
        data = self._rest + data
        replies, rest = (_read_cached if len(data) <= _SHORT_OCTETS else _read)(data)
        if self._ended is None:
            self._replies.extend(replies)
        if rest is None:
            self._end("The server speaks no SMTP.")
        else:
            self._rest = rest
        self._wake()

    def connection_lost(self, _error: Exception | None) -> None:
        """Make the coroutine that waits, if there is one, raise Unanswered."""
        self._end("The server closed the connection.")

    def pause_writing(self) -> None:
        """Note that the write buffer is full: the server does not keep up."""
        self._full = True

    def resume_writing(self) -> None:
        """Note that the write buffer has room again."""
        self._full = False
        self._wake()

    async def _until(self, condition: Callable[[], bool], stage: Stage, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self._watch()
        while not condition():
            if self._ended is not None:
                raise Unanswered(stage, self._ended)
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _watch(self) -> None:
        """Set the timer to the deadline; a later wait may move the deadline before it fires."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline:
            self._watch()
        else:
            self._end("The server did not answer in time.")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end(self, why: str) -> None:
        if self._ended is None:
            self._ended = why
            self.transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()


def _read(data: bytes) -> tuple[Sequence[Reply], bytes | None]:
    """Parse whole replies (RFC 5321 section 4.2.1); returns the rest too, None if it is no SMTP."""
    replies: list[Reply] = []
    lines: list[bytes] = []
    *whole, rest = data.split(b"\n")
    for line in whole:
        lines.append(line)
        if line[:3].isdigit() and line[3:4] == b"-" and len(lines) < _LONGEST_REPLY_LINES:
            continue
        reply = _reply(lines)
        if reply is None:
            return replies, None
        replies.append(reply)
        lines.clear()
    rest = b"\n".join([*lines, rest])
    return replies, rest if len(rest) <= _LONGEST_REPLY_OCTETS else None


# Servers send few different replies, each many times.
_read_cached = lru_cache(maxsize=512)(_read)


def _reply(lines: Sequence[bytes]) -> Reply | None:
    """Parse the lines of one reply; returns None if they are no SMTP reply."""
    texts = [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
    codes = [_LINE.match(text) for text in texts]
    if not all(codes) or codes[-1] is None or texts[-1][3:4] == "-":
        return None
    enhanced = _ENHANCED.match(texts[-1][4:])
    return Reply(
        code=int(codes[-1][1]),
        enhanced=enhanced[1] if enhanced else None,
        text="\n".join(text[4:] for text in texts),
    )
