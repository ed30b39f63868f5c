"""The program that composes, with a parser that some words are poison to.

Each harms it as a library with a fault would. HTML is read before a release is accepted, and
composed when it is sent: words that begin with `late-` harm only the second.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mailer.mail import compose, letters
from mailer.mail.html import plaintext, sanitize

SLEEPING = "sleeping"
"""What a process that sleeps is called."""


def _loop() -> None:
    while True:
        pass


def _eat() -> None:
    eaten = [b"x"]
    while True:
        eaten.append(eaten[-1] * 2)


def _sleep() -> None:
    Path("/proc/self/comm").write_text(SLEEPING)
    time.sleep(600)


def _raise() -> None:
    raise RuntimeError("kari@example.org")


POISONS: dict[str, Callable[[], object]] = {
    "abort": os.abort,
    "loop": _loop,
    "memory": _eat,
    "exception": _raise,
    "sleep": _sleep,
}
"""What a word does. The last is slow without work, as on a machine that is too busy."""


def poison(html: str, prefix: str = "") -> str:
    """Do what the words in the HTML do; without any, return it."""
    for word, harm in POISONS.items():
        if f"<p>{prefix}{word}</p>" in html:
            harm()
    return html


if __name__ == "__main__":
    vars(compose).update(accepted=lambda html: sanitize.accepted(poison(html)))
    vars(letters).update(plain_text=lambda html: plaintext.plain_text(poison(html, "late-")))
    compose.main(Path(sys.argv[1]))
