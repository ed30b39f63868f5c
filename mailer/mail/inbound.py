"""Inbound mail: reads the header of one message, of which almost nothing is trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.header import decode_header, make_header
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
_IN_BRACKETS = re.compile(r"<([^<>]*)>")
_WORD_END = re.compile(r"[\s;(]")
_PRECEDENCE_OF_NOTES = frozenset({"auto_reply", "auto-reply", "bulk", "junk"})
_FIELD_OF_NOTE = re.compile(
    r"x-auto-?(?:repl(?:y|ied)|respon[ds]e?r?|response-suppress|generated)(?:-\S*)?|autoresponder"
    r"|x-mail-autoreply|x-fc-machinegenerated|x-failed-recipients|x-vacation",
    re.IGNORECASE,
)
_NOT = frozenset({"", "no", "none", "false"})
_SUBJECT_OF_NOTE = re.compile(
    r"(?:(?:re|sv|aw)\s*:\s*)?\[?(?:"
    r"auto(?:matic(?:ally)?|mated)?[- ]?(?:reply|response|responder)\b|auto\s*:|vacation\b"
    r"|out[- ]of[- ](?:the )?office\b|away from (?:my|the) (?:mail|office)"
    r"|automatisk svar|autosvar|automatiskt svar|frav\u00e6r|fr\u00e5nvar|poissa"
    r"|(?:jeg|eg) er (?:ikke til|ikkje til|ute av|p\u00e5 ferie)|abwesenheit|automatische antwort"
    r"|r\u00e9ponse automatique|absence du bureau|respuesta autom\u00e1tica|risposta automatica"
    r"|automatisch antwoord)",
    re.IGNORECASE,
)
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
    """Tell whether it is positively a bounce, a receipt or a vacation note, and no wish to leave.

    RFC 3834 (5), RFC 5321 (4.5.5), RFC 3464 and RFC 8098; and what programs from before these, and
    beside them, write. Apple Mail answers for its reader, and says so by a field of its own.
    """
    if "true" in _values(message, "X-Apple-Unsubscribe"):
        return False
    submitted = _values(message, "Auto-Submitted")
    return (
        any(value != "no" for value in submitted)
        or message.get_content_type() == "multipart/report"
        or not _PRECEDENCE_OF_NOTES.isdisjoint(_values(message, "Precedence"))
        or any(_is_mark_of_note(name, str(value)) for name, value in message.items())
        or (not submitted and _SUBJECT_OF_NOTE.match(_subject(message)) is not None)
        or _local_part(message.get("From")) == "mailer-daemon"
        # The topmost Return-Path is the one that our own mail server has written.
        or _local_part(message.get("Return-Path")) in _NULL_SENDERS
    )


def _values(message: Message, name: str) -> set[str]:
    """Return the first words of all fields of a name, in small letters."""
    values = (str(value).strip().lower() for value in message.get_all(name, []))
    return {_WORD_END.split(value, maxsplit=1)[0] for value in values}


def _is_mark_of_note(name: str, value: str) -> bool:
    return _FIELD_OF_NOTE.fullmatch(name) is not None and value.strip().lower() not in _NOT


def _subject(message: Message) -> str:
    try:
        return str(make_header(decode_header(str(message.get("Subject", ""))))).strip()
    except (ValueError, LookupError):
        return ""


def _local_part(field: object) -> str | None:
    """Return what stands before the @ of a field's address, in small letters; None without one."""
    if field is None:
        return None
    # Not by the standard library, which goes as deep as brackets are in one another.
    found = _IN_BRACKETS.search(str(field))
    address = found[1] if found else str(field)
    return address.strip().partition("@")[0].lower()
