"""Reads and composes HTML as `mail.compose` does, each in a process of its own, and measures that.

A line is the HTML as JSON; the answer is what became of it, and what it took.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import NoReturn

from mailer.config import TEMPLATES
from mailer.domain.releases.previews import EXAMPLE_ROOM, EXAMPLE_URL
from mailer.mail import compose
from mailer.mail.compose import LetterRequest, Work, make
from mailer.mail.content import Links, Story
from mailer.mail.html.limits import excess
from mailer.mail.letters import preload
from mailer.mail.message import Composed

COMPOSED, REFUSED, WRONG, TOO_LONG = 0, 1, 2, compose.TOO_LONG
_VALUES = dict.fromkeys(
    ("to", "date", "message_id", "unsubscribe_token", "one_click_token"), "kari@example.org"
)
_LINE = 998
_STORY = Story("nb", "Tittel", "", datetime(2026, 1, 1, tzinfo=UTC), web_url="https://a.example/")


def work(html: str) -> int:
    """Read and compose HTML, and send it as far as its octets; returns what became of it."""
    body = make(Work(html=html), TEMPLATES).body
    if body is None:
        return REFUSED
    story = replace(_STORY, body_html=body.html)
    request = LetterRequest("release", EXAMPLE_ROOM, Links.under(EXAMPLE_URL), story)
    letters = make(Work(request=request), TEMPLATES).letters
    if not letters:
        return REFUSED
    return COMPOSED if all(map(is_sound, map(Composed.unpacked, letters.values()))) else WRONG


def is_sound(letter: Composed) -> bool:
    """Tell whether a letter is a message whose lines every mail server takes."""
    octets = letter.fill(_VALUES)
    lines = octets.split(b"\r\n")
    message = message_from_bytes(octets, policy=policy.default)
    return (
        all(len(line) <= _LINE and not line.startswith(b".") for line in lines)
        and b"\n" not in octets.replace(b"\r\n", b"")
        and [part.get_content_type() for part in message.iter_parts()]
        == ["text/plain", "text/html"]
        and not message.defects
    )


def child(html: str) -> NoReturn:
    """Work within the limits of `mail.compose`, and end."""
    compose._limit()
    os._exit(work(html))


def main() -> None:
    """Answer each line of standard input."""
    preload(TEMPLATES)
    for line in sys.stdin:
        html = json.loads(line)
        if excess(html) is not None:
            print(json.dumps({"status": REFUSED, "seconds": 0.0, "octets": 0}), flush=True)
            continue
        process = os.fork()
        if not process:
            child(html)
        _, status, used = os.wait4(process, 0)
        answer = {
            "status": os.waitstatus_to_exitcode(status),
            "seconds": used.ru_utime + used.ru_stime,
            "octets": used.ru_maxrss * 1024,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
