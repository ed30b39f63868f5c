"""The program that reads and composes what comes from outside, within limits.

`python -P -s -m mailer.mail.compose TEMPLATES` has one thread, and forks a process for each line
that it is given, ahead of it: a Work as JSON, which that process answers with a line, a Made as
JSON. One that takes too long ends by itself, and the program answers in its place. When such a
process dies, whatever was in its memory is gone, and the program ends with DIED, or with KILLED if
that process was killed from outside. `mail.composer` starts the program.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import TypeAdapter

from mailer.mail.content import Links, PressRoom, ReplacedVersion, Story
from mailer.mail.html.reader import ReadBody, read
from mailer.mail.html.sanitize import accepted
from mailer.mail.letters import Letters, preload
from mailer.mail.locales import available

DIED, KILLED, OVER = 3, 4, 5
TOO_LONG = int(signal.SIGPROF)
"""The exit code of a process that has worked for too long."""

_USUAL_SECONDS, _PROCESSOR_SECONDS, _KILLED_SECONDS = 0.3, 2.8, 4
_MEMORY_OCTETS = 512 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_AHEAD, _REST_SECONDS = 2, 0.05
"""Processes that wait for works: a release is read and then composed, each by a fresh one."""
_LARGEST_LETTER = 4_000_000
"""Octets of a whole message, of which most relays take ten million and many five."""


@dataclass(frozen=True, slots=True)
class LetterRequest:
    """All that a letter of a release is made of, but the locale of its frame."""

    kind: Literal["release", "correction"]
    press_room: PressRoom
    links: Links
    story: Story
    replaced: ReplacedVersion | None = None
    """For a correction: the version before."""

    def sha256(self, templates: Path) -> str:
        """Return the hex digest of the request, and of all that makes letters of requests."""
        return sha256(version(templates) + _REQUESTS.dump_json(self)).hexdigest()


@dataclass(frozen=True, slots=True)
class Work:
    """HTML to be read, as it was given; or a letter to be composed, its HTML accepted already."""

    html: str | None = None
    request: LetterRequest | None = None
    locales: tuple[str, ...] = ()
    """Of the frames of the letters; without any, all that there are."""


@dataclass(frozen=True, slots=True)
class Made:
    """What was made of a Work, or why nothing was."""

    refused: str | None = None
    broken: bool = False
    """Whether an error ended it."""
    body: ReadBody | None = None
    letters: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By locale: the composed message as plain JSON values."""


_EXAMPLE = LetterRequest(
    kind="release",
    press_room=PressRoom("Å", "a@example.org", "en", "https://a.example/", None, "a.example"),
    links=Links.under("https://a.example"),
    story=Story("nb", "Å", "<p>Å</p>", datetime(2026, 1, 1, tzinfo=UTC)),
)
WORKS, MADE = TypeAdapter(Work), TypeAdapter(Made)
_REQUESTS = TypeAdapter(LetterRequest)


def make(work: Work, templates: Path) -> Made:
    """Read the HTML of a release, or compose it in every locale."""
    try:
        body = None if work.html is None else read(accepted(work.html))
    except ValueError as problem:
        return Made(refused=str(problem))
    letters = {}
    for locale, letter in _letters(work.request, work.locales, templates) if work.request else ():
        # At the first that is too large: the others would be, too.
        if len(letter["octets"]) > _LARGEST_LETTER:
            return Made(refused="This makes a letter that is too large for many mailboxes.")
        letters[locale] = letter
    return Made(body=body, letters=letters)


def _letters(
    request: LetterRequest, locales: tuple[str, ...], templates: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    letters, room, story = Letters(templates, request.links), request.press_room, request.story
    for locale in locales or available():
        if request.replaced is None:
            yield locale, letters.release(room, story, locale).packed()
        else:
            yield locale, letters.correction(room, story, request.replaced, locale).packed()


@cache
def version(templates: Path) -> bytes:
    """Return the digest of the code and the templates of which letters are made, read once."""
    mail = Path(__file__).parent
    texts = (*mail.rglob("*.py"), *(templates / "emails").rglob("*.*"), *templates.rglob("*.po"))
    return sha256(b"\0".join(one.read_bytes() for one in sorted(texts))).digest()


def _limit() -> None:
    """Limit this process. Linux ignores a limit on resident memory, so it is one on all data.

    After its seconds of processor time it calls `_exit` with the number of the signal, wherever it
    is: a handler of Python would wait for the parser, whose time can grow with a square. Long
    before, it calls `nice` with the number of another one, which is more than enough to let all
    others go first.
    """
    libc = ctypes.CDLL(None)
    libc.signal(signal.SIGPROF, ctypes.cast(libc._exit, ctypes.c_void_p))
    libc.signal(signal.SIGVTALRM, ctypes.cast(libc.nice, ctypes.c_void_p))
    signal.setitimer(signal.ITIMER_PROF, _PROCESSOR_SECONDS)
    signal.setitimer(signal.ITIMER_VIRTUAL, _USUAL_SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_KILLED_SECONDS, _KILLED_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_OCTETS, _MEMORY_OCTETS))


def _fork(templates: Path, turn: tuple[int, int]) -> int:
    return os.fork() or _answer(templates, turn)


def _answer(templates: Path, turn: tuple[int, int]) -> NoReturn:
    """Wait for a work in this process, do it, and end; an error is named without its text.

    `turn` is a pipe that holds one octet: who has taken it reads a whole line.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _limit()
        # Whatever a process writes to is copied first: this way, before it has to hurry.
        make(Work(request=_EXAMPLE), templates)
        os.read(turn[0], 1)
        line = sys.stdin.buffer.readline()
        os.write(turn[1], b".")
        if not line:
            os._exit(OVER)
        made = _made(line, templates)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _say(made)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends this process alone
        sys.stderr.write(f"Composing ended with {type(error).__name__}.\n")
        os._exit(DIED)


def _made(line: bytes, templates: Path) -> Made:
    """Do a work; an error is named without its text."""
    try:
        return make(WORKS.validate_json(line), templates)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is about this work alone
        sys.stderr.write(f"Composing ended with {type(error).__name__}.\n")
        return Made(broken=True)


def _say(made: Made) -> None:
    sys.stdout.buffer.write(MADE.dump_json(made) + b"\n")
    sys.stdout.buffer.flush()


def main(templates: Path) -> None:
    """Answer each line of standard input until its end, or until a process dies."""
    preload(templates)
    # What libraries do at first is done here, once, and no process scans for garbage what is.
    make(Work(html="<p>&nbsp;</p>", request=_EXAMPLE), templates)
    gc.freeze()
    turn = os.pipe()
    os.write(turn[1], b".")
    waiting = {_fork(templates, turn) for _ in range(_AHEAD)}
    while True:
        process, status = os.wait()
        waiting.remove(process)
        if os.waitstatus_to_exitcode(status) == TOO_LONG:
            _say(Made(refused="This takes too long to read: it is too deep, or there is too much."))
        elif status:
            break
        # A release that is read is composed at once: what is forked for the next one can wait.
        time.sleep(_REST_SECONDS)
        waiting.add(_fork(templates, turn))
    for process in waiting:
        # They hold the other end of what is read from.
        os.kill(process, signal.SIGKILL)
    if os.WIFSIGNALED(status):
        sys.exit(KILLED if os.WTERMSIG(status) == signal.SIGKILL else DIED)
    sys.exit(0 if os.WEXITSTATUS(status) == OVER else DIED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
