"""Inbound mail: reads the header of one message, of which almost nothing is trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from typing import BinaryIO

from mailer.errors import UnusableMessage

LARGEST_HEADER = 64 * 1024
LARGEST_MESSAGE = 32 * 1024 * 1024
_PIECE = 64 * 1024

_EMPTY_LINES = (b"\n", b"\r\n")
# A field's name and its colon (RFC 5322, 3.6.8), perhaps after the "From " line of an mbox file.
_BEGINNING = re.compile(rb"(?:From [^\n]*\n)?[!-9;-~]{1,76}[ \t]*:")
_ADDRESS = re.compile(r"""[^\s<>(),;:"@]{1,64}@[^\s<>(),;:"@]{1,255}""")
_WORD_END = re.compile(r"[\s;(]")
# Postfix writes MAILER-DAEMON for the null sender, unless it is configured not to.
_NULL_SENDERS = ("", "mailer-daemon")


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """The recipients of a message that came in, and whether a program wrote it."""

    recipients: tuple[str, ...]
    automatic: bool


def read_message(stream: BinaryIO) -> InboundMessage:
    """Read one message to its end, and keep only these facts from its header.

    Raises UnusableMessage if it is no message, or too large.
    """
    head = _head(stream)
    octets = len(head)
    while piece := stream.read(_PIECE):
        octets += len(piece)
        if octets > LARGEST_MESSAGE:
            raise UnusableMessage("This message is larger than any that is taken here.")
    if not octets:
        raise UnusableMessage("There is no message on standard input.")
    if not _BEGINNING.match(head):
        raise UnusableMessage("This is no message: it does not begin with a header.")
    message = BytesHeaderParser().parsebytes(head)
    return InboundMessage(_recipients(message), _automatic(message))


def _head(stream: BinaryIO) -> bytes:
    """Return the header of a message, without the empty line after it."""
    lines, octets = [], 0
    while (line := stream.readline(LARGEST_HEADER + 1)) and line not in _EMPTY_LINES:
        lines.append(line)
        octets += len(line)
        if octets > LARGEST_HEADER:
            raise UnusableMessage("The header of this message is longer than any taken here.")
    return b"".join(lines)


def _recipients(message: Message) -> tuple[str, ...]:
    """Return the addresses to which a message may have been delivered, the most likely first."""
    names = ("Delivered-To", "X-Original-To", "To")
    return tuple(
        address
        for name in names
        for value in message.get_all(name, [])
        for address in _ADDRESS.findall(str(value))
    )


def _automatic(message: Message) -> bool:
    """Tell whether it is automatic (RFC 3834, 5) or has the null sender (RFC 5321, 4.5.5)."""
    submitted = [str(value).strip().lower() for value in message.get_all("Auto-Submitted", [])]
    if any(_WORD_END.split(value, maxsplit=1)[0] != "no" for value in submitted):
        return True
    # The topmost Return-Path is the one that our own mail server has written.
    return_path = message.get("Return-Path")
    if return_path is None:
        return False
    sender = str(return_path).strip().removeprefix("<").removesuffix(">").strip().lower()
    return sender.partition("@")[0] in _NULL_SENDERS
