"""A relay that writes down every message before it answers, as a program to be killed and frozen.

It is started with an address and a port to listen on, the file for its record, and a seed. What it
shall do next it is told over SMTP itself, by a command of its own: `XMOOD busy`.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
import time
from collections import Counter
from contextlib import suppress

import uvloop

from tests.support.misbehaviour import Rule, read

ORDERS = "127.0.0.9"
"""Who connects from here gives orders, and is greeted well however the relay feels."""
OPENED = "opened"
"""The stage under which the most connections that were ever open are noted."""
NAMED = ".named"
"""What the name of the second file has in addition: answers to MAIL, RCPT, DATA and dots."""
_EHLO = (
    b"250-recorder.example.org\r\n250-PIPELINING\r\n250-SIZE 10485760\r\n250-8BITMIME\r\n"
    b"250-AUTH PLAIN\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
)
_LARGEST_MESSAGE = 10 * 1024 * 1024
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_ONE_CLICK = re.compile(r"<(https?://[^>]+)>")
_FORGETFUL = "forgetful"


class Recorder:
    """What all connections share: the record, the mood, the pace."""

    def __init__(self, record: str, seed: str) -> None:
        self._record, self._named = (
            os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            for file in (record, record + NAMED)
        )
        self._chance = random.Random(seed)
        self._connections = 0
        self._rules: tuple[Rule, ...] = ()
        self._passed: dict[Rule, tuple[int, int]] = {}
        self._met: Counter[tuple[Rule, str]] = Counter()
        self.open = self._most_open = 0
        self.mood = "well"
        self.share = 0.0
        self.delay = 0.0

    def connected(self) -> int:
        """Count one more connection, and give its number (unique also after a restart)."""
        self._connections += 1
        return os.getpid() * 100_000 + self._connections

    def order(self, words: str) -> None:
        """Follow an order: a mood with its share, rules, or a pace in seconds a message."""
        verb, _, rest = words.partition(" ")
        if verb == "DELAY":
            self.delay = float(rest)
            return
        self.mood = verb.lower()
        self._rules = read(rest) if self.mood == "rules" else ()
        self.share = float(rest) if self.mood == _FORGETFUL else 0.0

    def rule(self, stage: str, address: str, messages: int) -> Rule | None:
        """Find the first rule for this moment of a connection that has had so many messages."""
        for rule in self._rules:
            draw = self._chance.random() if rule.chance else 0.0
            applies = rule.applies(stage, messages, self.open, draw) and rule.picks(address)
            if applies and self._is_beyond(rule) and self._is_met(rule, address):
                return rule
        return None

    def opened(self, connection: int) -> None:
        """Count an open connection, and note when there are more than ever."""
        self.open += 1
        if self.open > self._most_open:
            self._most_open = self.open
            self.note(connection, OPENED, "", f"220 {self.open}")

    def _is_met(self, rule: Rule, address: str) -> bool:
        """Tell whether a recipient has not met a rule often enough yet."""
        if not rule.times:
            return True
        self._met[rule, address] += 1
        return self._met[rule, address] <= rule.times

    def _is_beyond(self, rule: Rule) -> bool:
        """Tell whether a throttle has let enough pass in this window of time."""
        window = int(time.time() // rule.seconds)
        before, passed = self._passed.get(rule, (window, 0))
        passed = passed if before == window else 0
        self._passed[rule] = window, passed + (passed < rule.beyond)
        return passed >= rule.beyond

    def note(self, connection: int, stage: str, address: str, reply: str) -> None:
        """Write an answer down, and whom it is about."""
        line = "\t".join([repr(time.time()), str(connection), stage, address, reply])
        os.write(self._named, f"{line}\n".encode())

    def write(self, connection: int, client: str, recipient: str, message: bytes) -> bool:
        """Write a message down; True if its answer shall be lost."""
        head = _FOLD.sub(b"", message.partition(b"\r\n\r\n")[0]).decode("utf-8", "replace")
        fields = dict(line.partition(": ")[::2] for line in head.split("\r\n"))
        link = _ONE_CLICK.search(fields.get("List-Unsubscribe", ""))
        lost = self.mood == _FORGETFUL and self._chance.random() < self.share
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
        self._has_sender = False
        self._messages = 0
        self._silent = False

    async def run(self) -> None:
        """Talk until the client leaves or is thrown out."""
        counted = self._client != ORDERS
        if counted:
            self._recorder.opened(self._number)
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._talk(counted)
            if self._silent:
                await self._reader.read()
        self._recorder.open -= counted
        self._writer.close()

    async def _talk(self, counted: bool) -> None:
        rule = self._recorder.rule("banner", "", 0) if counted else None
        if rule is not None:
            self._refuse(rule, "")
            return
        # Even when busy it hears orders: it takes their first line before it says no.
        self._say(self._greeting())
        while line := await self._reader.readline():
            if not await self._answer(line.decode("utf-8", "replace").rstrip("\r\n")):
                return
            await self._writer.drain()

    def _greeting(self) -> str:
        if self._recorder.mood == "busy":
            return "421 4.3.2 Too much to do"
        return "220 recorder.example.org ESMTP"

    def _say(self, reply: str) -> None:
        self._writer.write(f"{reply}\r\n".encode())

    def _refuse(self, rule: Rule, whom: str) -> bool:
        """Answer as the rule says; False ends the connection."""
        self._recorder.note(self._number, rule.stage, whom, rule.reply)
        if rule.reply:
            self._say(rule.reply)
        self._silent = rule.silent
        return bool(rule.reply) and not rule.reply.startswith("421")

    async def _answer(self, line: str) -> bool:
        """Answer one command; False ends the connection."""
        verb = line[:4].upper()
        if verb == "DATA" and self._recipient:
            return await self._message()
        if verb == "QUIT":
            self._say("221 2.0.0 Bye")
            await self._writer.drain()
            return False
        if verb == "EHLO":
            self._writer.write(_EHLO)
        elif verb == "XMOO":
            self._recorder.order(line.partition(" ")[2])
            self._say("250 2.0.0 So be it")
        elif verb in ("MAIL", "RCPT"):
            return self._envelope(verb, line.partition("<")[2].partition(">")[0])
        else:
            self._say(self._reply(verb))
        return True

    def _reply(self, verb: str) -> str:
        if verb == "DATA":
            return "503 5.5.1 For whom?"
        if verb == "AUTH" and self._recorder.mood == "stranger":
            return "535 5.7.8 Wrong password"
        return "235 2.7.0 Welcome" if verb == "AUTH" else "250 2.0.0 OK"

    def _envelope(self, verb: str, address: str) -> bool:
        self._recipient = ""
        if verb == "RCPT" and not self._has_sender:
            self._say("503 5.5.1 From whom?")
            return True
        rule = self._recorder.rule(verb.lower(), address, self._messages)
        if verb == "MAIL":
            self._has_sender = rule is None
        if rule is not None:
            return self._refuse(rule, address)
        reply = "250 2.0.0 OK"
        if verb == "RCPT":
            busy = self._recorder.mood == "busy"
            reply = "452 4.3.1 Too much to do" if busy else reply
            self._recipient = address
            self._recorder.note(self._number, "rcpt", address, reply)
            if busy:
                self._recipient = ""
        self._say(reply)
        return True

    async def _message(self) -> bool:
        recipient, self._recipient = self._recipient, ""
        rule = self._recorder.rule("data", recipient, self._messages)
        if rule is not None:
            return self._refuse(rule, recipient)
        self._say("354 Go on")
        await self._writer.drain()
        message = await self._reader.readuntil(b"\r\n.\r\n")
        rule = self._recorder.rule("dot", recipient, self._messages)
        self._messages += 1
        lost = False
        if rule is None or rule.keeps:
            lost = self._recorder.write(self._number, self._client, recipient, message)
        await asyncio.sleep(self._recorder.delay)
        if rule is not None:
            return self._refuse(rule, recipient)
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
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2]), Recorder(sys.argv[3], sys.argv[4])))
