"""Messages: each is composed once, as bytes with slots; a recipient then costs one bytes.join."""

from __future__ import annotations

import re
import secrets
import textwrap
from binascii import b2a_qp
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Self

_NONCE = secrets.token_hex(16)
_MARKER = re.compile(f"{_NONCE}-([a-z0-9_]+)-{_NONCE}")
_MARKED = re.compile(_MARKER.pattern.encode())

# Values that may fill a slot. In a body: nothing that quoted-printable, a URL or HTML would have to
# encode, no dot first (it could open a line), and short enough for a line of its own. In a
# header: words with one space between them, to which DKIM's relaxed form reduces all white space.
_TOKEN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~:@+/-]{0,74}")
_WORD = r"[^\x00-\x20\x7f-\x9f<>\u2028\u2029\ud800-\udfff]++"
_HEADER_VALUE = re.compile(f"{_WORD}(?: {_WORD})*+")
_HEADER_OCTETS = 320
_LINE_OCTETS = 998
_LINE = 76
"""Characters of a line that has an encoded word; of the word itself one less (RFC 2047, 2)."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PHRASED = frozenset({"From", "Reply-To", "List-Id"})
# Text that may stand in a header as it is. Longer words could not be folded, runs of spaces
# would not survive folding, and "=?" would be read as an encoded word.
_PLAIN = re.compile(r"(?!.*=\?)[!-~]{1,60}(?: [!-~]{1,60})*")

_CHUNK = 73  # 76 (RFC 2045, 6.7) less the soft break's "=" and two for an encoded first character
_FULL = re.compile(rf"(?s).{{1,{_CHUNK}}}(?<!=)(?<!=.)")


class UnsafeValue(ValueError):
    """The value of a header or a slot would break the message, or a slot has no value."""


class Slotted:
    """Octets with slots, parsed from octets with markers."""

    def __init__(self, marked: bytes) -> None:
        # The octets between the markers, and at every odd index the name of a slot.
        self._parts = _MARKED.split(marked)
        self._slots = [name.decode() for name in self._parts[1::2]]
        self.names = tuple(dict.fromkeys(self._slots))

    def pieces(self, encoded: Mapping[str, bytes]) -> list[bytes]:
        """Return the octets with every slot filled, as a list of pieces to be joined."""
        filled = self._parts.copy()
        filled[1::2] = map(encoded.__getitem__, self._slots)
        return filled

    def fill(self, encoded: Mapping[str, bytes]) -> bytes:
        """Return the octets with every slot filled."""
        return b"".join(self.pieces(encoded))

    def marked(self, encoded: Mapping[str, bytes] = MappingProxyType({})) -> bytes:
        """Return the octets, with the values of slots in `encoded` and markers for the others."""
        return self.fill({name: encoded.get(name, slot(name).encode()) for name in self.names})

    def divided(self) -> tuple[bytes, Slotted]:
        """Return the octets before the first slot, and the rest."""
        beginning = self._parts[0]
        return beginning, Slotted(self.marked()[len(beginning) :])


@dataclass(frozen=True, slots=True)
class Composed:
    """A message with slots.

    `tokens` names the slots that occur in a body, and therefore take a bare ASCII token.
    No line begins with a dot, so the message is its own dot-stuffed form.
    """

    octets: Slotted
    tokens: frozenset[str]

    def fill(self, values: Mapping[str, str]) -> bytes:
        """Return the message for one recipient, as it follows DATA (RFC 5321, 4.5.2).

        Lines end in CRLF, none needs dot-stuffing, and the closing ".CRLF" is left to the
        SMTP client. `values` may hold more than the slots. Raises `UnsafeValue` for a slot
        without a value, and for a value that its slot does not take.
        """
        return self.octets.fill(self.encode(values, self.octets.names))

    def with_values(self, values: Mapping[str, str]) -> Composed:
        """Return the message with some slots filled for all recipients; raises `UnsafeValue`."""
        encoded = self.encode(values, tuple(values))
        return Composed(Slotted(self.octets.marked(encoded)), self.tokens)

    def packed(self) -> dict[str, Any]:
        """Return the message as plain JSON values, which another process can unpack."""
        marked = self.octets.marked().decode()
        return {"nonce": _NONCE, "octets": marked, "tokens": sorted(self.tokens)}

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> Self:
        """Return the message that was packed, with the markers of this process."""
        marked = packed["octets"].replace(packed["nonce"], _NONCE).encode()
        return cls(Slotted(marked), frozenset(packed["tokens"]))

    def encode(self, values: Mapping[str, str], names: Sequence[str]) -> dict[str, bytes]:
        """Return the values of some slots as octets; raises `UnsafeValue`, as `fill` does."""
        encoded = {}
        for name in names:
            value = values.get(name)
            if value is None:
                raise UnsafeValue(f"The slot {name!r} has no value.")
            is_token = name in self.tokens
            if not (_TOKEN if is_token else _HEADER_VALUE).fullmatch(value):
                takes = "a short ASCII token only" if is_token else "what a header can hold"
                raise UnsafeValue(f"The slot {name!r} takes {takes}.")
            # An address outside ASCII stays UTF-8 (RFC 6532), for a relay that has SMTPUTF8.
            encoded[name] = octets = value.encode()
            if len(octets) > _HEADER_OCTETS:
                raise UnsafeValue(f"The slot {name!r} was given more than a header can hold.")
        return encoded


def slot(name: str) -> str:
    """Return the marker of a slot, to be put into a template or a header.

    It is made of URL-safe characters and passes unchanged through escaping and inlining. It
    holds a nonce of this process, so no release can contain a marker, by accident or on purpose.
    """
    return f"{_NONCE}-{name}-{_NONCE}"


def message_date(moment: datetime) -> str:
    """Format a moment for a Date header (RFC 5322, 3.3)."""
    return format_datetime(moment.replace(microsecond=0))


def compose(headers: Sequence[tuple[str, str]], text: str, html: str) -> Composed:
    """Compose multipart/alternative from plain text and HTML, both quoted-printable UTF-8.

    Headers are given unencoded: names of people in From, Reply-To and List-Id, and Subject,
    are encoded here (RFC 2047), as are all folds. MIME's own headers are added. Raises
    `UnsafeValue` for a header that holds control characters or cannot be represented.
    """
    plain, formatted = _quoted_printable(text), _quoted_printable(html)
    # The boundary depends on the content alone, so that every retry sends the same message; and it
    # has "=_", which quoted-printable never produces (RFC 2045, 6.7).
    unslotted = _MARKER.sub(r"\1", plain + formatted)
    boundary = f"=_{sha256(unslotted.encode()).hexdigest()[:32]}"
    lines = [_header(name, value) for name, value in headers]
    lines += [
        "MIME-Version: 1.0",
        _header("Content-Type", f'multipart/alternative; boundary="{boundary}"'),
        "",
        *_part(boundary, "text/plain", plain),
        *_part(boundary, "text/html", formatted),
        f"--{boundary}--",
        "",
    ]
    return Composed(
        octets=Slotted("\r\n".join(lines).encode()),
        tokens=frozenset(_MARKER.findall(plain + formatted)),
    )


def _part(boundary: str, content_type: str, encoded: str) -> Sequence[str]:
    return (
        f"--{boundary}",
        f"Content-Type: {content_type}; charset=utf-8",
        "Content-Transfer-Encoding: quoted-printable",
        "",
        encoded,
    )


@lru_cache(maxsize=256)
def _header(name: str, value: str) -> str:
    """Encode and fold one header field (RFC 5322, 2.2.3; RFC 2047), alike in most locales."""
    if _UNSAFE.search(name + value):
        raise UnsafeValue(f"The header {name!r} was given control characters.")
    if name in _PHRASED:
        phrase, _, bare = value.rpartition(" <")
        value = f"{_phrase(name, phrase)} <{bare}" if phrase else value
    elif name == "Subject" and not _PLAIN.fullmatch(value):
        value = _encoded_words(name, value)
    if not value.isascii():
        raise UnsafeValue(f"The header {name!r} takes ASCII only.")
    # The first word stays on the line of the name: a line "Name:" alone confuses many parsers.
    field = textwrap.fill(
        f"{name}:\0{value}",
        _LINE,
        subsequent_indent=" ",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\0", " ")
    if max(map(len, _MARKER.sub("", field).split("\n"))) + _HEADER_OCTETS > _LINE_OCTETS:
        raise UnsafeValue(f"The header {name!r} is too long to be folded.")
    return field.replace("\n", "\r\n")


def _phrase(name: str, phrase: str) -> str:
    if not _PLAIN.fullmatch(phrase):
        return _encoded_words(name, phrase)
    escaped = re.sub(r'(["\\])', r"\\\1", phrase)
    return f'"{escaped}"'


def _encoded_words(name: str, text: str) -> str:
    return Header(text, "utf-8", header_name=name, maxlinelen=_LINE).encode().replace("\n ", " ")


def _quoted_printable(text: str) -> str:
    """Encode a body (RFC 2045, 6.7), each slot between soft breaks on a line of its own."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\r\n".join("=\r\n".join(_physical_lines(line)) for line in lines)


def _physical_lines(line: str) -> Iterator[str]:
    parts = _MARKER.split(line)
    for index, part in enumerate(parts):
        if index % 2:
            yield slot(part)
        elif part:
            yield from _chunks(part)


def _chunks(text: str) -> Iterator[str]:
    """Split encoded text where a line is full, never inside an encoded octet."""
    # Its soft breaks leave no room for a dot that is encoded.
    quoted = b2a_qp(text.encode("utf-8", "replace")).replace(b"=\n", b"").decode()
    return map(_opening, _FULL.findall(quoted))


def _opening(chunk: str) -> str:
    """Encode the first character of a line that begins with a dot or with "From ".

    Then no line needs dot-stuffing, which a server could fail to undo, and no writer of mbox
    files changes "From " to ">From ", which would break the signature.
    """
    return f"={ord(chunk[0]):02X}{chunk[1:]}" if chunk.startswith((".", "From ")) else chunk
