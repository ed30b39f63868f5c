"""Lets processes with limits read and compose what comes from outside, whatever it does to them."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any

from mailer.config import TEMPLATES
from mailer.errors import Busy, Killed, MailerError, NotComposed
from mailer.mail.compose import DIED, MADE, WORKS, LetterRequest, Made, Work
from mailer.mail.html.reader import ReadBody

_AT_ONCE = 2
_WAIT_SECONDS = 10.0
_ANSWER_SECONDS = 10.0


class Composer:
    """Has at most two works done at once, each by a program that is kept for the next one."""

    def __init__(self, templates: Path, program: str = "mailer.mail.compose") -> None:
        self._templates, self._program = templates, program
        self._empty()
        # A process and its parent would both write to the same programs.
        os.register_at_fork(after_in_child=self._empty)

    def _empty(self) -> None:
        self._free: LifoQueue[_Program | None] = LifoQueue()
        for _ in range(_AT_ONCE):
            self._free.put(None)

    def read(self, html: str) -> ReadBody:
        """Return the HTML of a release as it is kept; raises NotComposed and Busy."""
        body = self._make(Work(html=html)).body
        if body is None:
            raise NotComposed
        return body

    def letters(
        self, request: LetterRequest, locales: tuple[str, ...] = ()
    ) -> dict[str, dict[str, Any]]:
        """Return the letters of a release by locale, packed; raises NotComposed and Busy.

        Without locales, in every locale that there is.
        """
        return self._make(Work(request=request, locales=locales)).letters

    def sha256(self, request: LetterRequest) -> str:
        """Return the hex digest by which letters are found that were made of the same."""
        return request.sha256(self._templates)

    def close(self) -> None:
        """End the programs, each once it has answered."""
        with suppress(Empty):
            for _ in range(_AT_ONCE):
                if (program := self._free.get(timeout=_ANSWER_SECONDS)) is not None:
                    program.close()
        self._empty()

    def _make(self, work: Work) -> Made:
        try:
            program = self._free.get(timeout=_WAIT_SECONDS)
        except Empty:
            raise Busy from None
        try:
            program = program or _Program(self._program, self._templates)
            answer = program.ask(WORKS.dump_json(work) + b"\n")
        except MailerError:
            program = None
            raise
        finally:
            self._free.put(program)
        made = MADE.validate_json(answer)
        if made.refused is not None:
            raise NotComposed(made.refused)
        if made.broken:
            raise NotComposed
        return made


class _Program:
    """A running `mail.compose`, which has no environment but where this process has its modules."""

    def __init__(self, program: str, templates: Path) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(_ANSWER_SECONDS)
        with ours, theirs:
            self._pipe = ours.makefile("rwb")
            self._process = subprocess.Popen(  # noqa: S603 - our own program, without a shell
                [sys.executable, "-P", "-s", "-m", program, str(templates)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )

    def ask(self, line: bytes) -> bytes:
        """Return the answer to a line; else the program has ended. Raises NotComposed and Busy."""
        answer = b""
        with suppress(OSError):
            self._pipe.write(line)
            self._pipe.flush()
            answer = self._pipe.readline()
        if answer.endswith(b"\n"):
            return answer
        # The group: the program itself waits for the process that it has forked.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        raise NotComposed if self.close() == DIED else Killed

    def close(self) -> int:
        """Let the program end, and return its exit code."""
        with suppress(OSError):
            self._pipe.close()
        return self._process.wait()


shared = Composer(TEMPLATES)
"""The composer of this process."""
atexit.register(shared.close)
