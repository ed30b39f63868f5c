"""DKIM: a composed message that signs itself for each recipient (RFC 6376, RFC 8463).

Signing costs little more than the arithmetic of a key: headers are brought into their canonical
form once, and whatever is the same for every recipient is hashed once.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from base64 import b64encode
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mailer.mail.message import Composed, Slotted
from mailer.parts import DkimKey

# Named once more than they occur, so that nobody can add another one (RFC 6376, 8.15).
_OVERSIGNED = (
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "mime-version",
    "content-type",
)
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_LINE = 72
_LINE_OCTETS = _LINE // 4 * 3
_PADDING = PKCS1v15()
_PREHASHED = Prehashed(SHA256())


@dataclass(frozen=True, slots=True)
class Signature:
    """What one key writes above a message: a DKIM-Signature field, but for its two values.

    `canonical` and `field` end in "bh="; the first is what verifiers make of the second.
    """

    canonical: bytes
    field: bytes
    signer: Callable[[bytes], bytes]

    def complete(self, headers: hashlib._Hash, body_hash: bytes) -> bytes:
        """Return the field for a message, from the hash of its other headers and its body."""
        signed = headers.copy()
        signed.update(self.canonical + body_hash + b"; b=")
        signature = self.signer(signed.digest())
        lines = [
            b2a_base64(signature[start : start + _LINE_OCTETS], newline=False)
            for start in range(0, len(signature), _LINE_OCTETS)
        ]
        return b"%b%b;\r\n b=%b\r\n" % (self.field, body_hash, b"\r\n ".join(lines))


@dataclass(frozen=True, slots=True)
class Signed(Composed):
    """A composed message that is signed, by each of its keys, when it is filled.

    It is the `beginning`, up to the first slot in the body, and the `rest`. `canonical` are the
    headers as they are signed, from the first slot on; `headers` and `body` are hashes of
    what comes before `canonical` and `rest`.
    """

    beginning: Slotted
    rest: Slotted
    canonical: Slotted
    headers: hashlib._Hash
    body: hashlib._Hash
    signatures: tuple[Signature, ...]

    def fill(self, values: Mapping[str, str]) -> bytes:
        """Return the message for one recipient, signed; the same values give the same octets."""
        encoded = self.encode(values, self.octets.names)
        rest = self.rest.fill(encoded)
        body, headers = self.body.copy(), self.headers.copy()
        body.update(rest)
        headers.update(self.canonical.fill(encoded))
        body_hash = b2a_base64(body.digest(), newline=False)
        fields = [signature.complete(headers, body_hash) for signature in self.signatures]
        return b"".join((*fields, self.beginning.fill(encoded), rest))


def serving(keys: Iterable[DkimKey], sender: str) -> tuple[DkimKey, ...]:
    """Return the keys that sign for a sender: those of its domain, or else of the nearest above.

    So the signature is aligned with the From header, as DMARC asks (RFC 7489, 3.1.1).
    """
    domain = sender.rpartition("@")[2]
    aligned = [key for key in keys if f".{domain}".endswith(f".{key.domain}")]
    nearest = max((key.domain for key in aligned), key=len, default="")
    return tuple(key for key in aligned if key.domain == nearest)


def sign(composed: Composed, keys: Sequence[DkimKey], moment: datetime) -> Composed:
    """Let every key sign a message, at a moment that has to be the same at each attempt.

    The headers are signed relaxed and the body simple: no relay has a reason to touch a body
    of short lines in ASCII. Without keys, the message stays as it is.
    """
    if not keys:
        return composed
    head, gap, body = composed.octets.marked().partition(b"\r\n\r\n")
    names, canonical = _canonical(head)
    common_headers, own_headers = Slotted(canonical).divided()
    common_body, rest = Slotted(body).divided()
    return Signed(
        octets=composed.octets,
        tokens=composed.tokens,
        beginning=Slotted(head + gap + common_body),
        rest=rest,
        canonical=own_headers,
        headers=hashlib.sha256(common_headers),
        body=hashlib.sha256(common_body),
        signatures=tuple(_signature(key, names, int(moment.timestamp())) for key in keys),
    )


def dns_record(key: DkimKey) -> tuple[str, str]:
    """Return the name and the text of the TXT record by which a key is verified."""
    public = key.private_key.public_key()
    if isinstance(key.private_key, Ed25519PrivateKey):
        octets, kind = public.public_bytes(Encoding.Raw, PublicFormat.Raw), "ed25519"
    else:
        octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        kind = "rsa"
    name = f"{key.selector}._domainkey.{key.domain}"
    return name, f"v=DKIM1; k={kind}; p={b64encode(octets).decode()}"


def _canonical(head: bytes) -> tuple[list[str], bytes]:
    """Return the names for "h=" and the canonical headers, those with slots last.

    Of several fields with one name, verifiers read the lowest first (RFC 6376, 5.4.2).
    """
    parted = [field.partition(b":") for field in reversed(_FIELD_END.split(head))]
    fields = [(name.lower(), b" ".join(value.split())) for name, _, value in parted]
    slotted = {name for name, value in fields if Slotted(value).names}
    fields.sort(key=lambda field: field[0] in slotted)
    names = [name.decode() for name, _ in fields]
    return [*names, *_OVERSIGNED], b"".join(b"%b:%b\r\n" % field for field in fields)


def _signature(key: DkimKey, names: Iterable[str], seconds: int) -> Signature:
    """Prepare the field of a key (RFC 6376, 3.5), folded wherever it has a space."""
    ed25519 = isinstance(key.private_key, Ed25519PrivateKey)
    tags = (
        f"v=1; a={'ed25519' if ed25519 else 'rsa'}-sha256; c=relaxed/simple; d={key.domain}; "
        f"s={key.selector}; t={seconds}; h={': '.join(names)};"
    )
    folded = textwrap.fill(
        f"DKIM-Signature: {tags}",
        _LINE,
        subsequent_indent=" ",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\n", "\r\n")
    return Signature(
        canonical=f"dkim-signature:{tags} bh=".encode(),
        field=f"{folded}\r\n bh=".encode(),
        signer=_signer(key),
    )


def _signer(key: DkimKey) -> Callable[[bytes], bytes]:
    private_key = key.private_key
    if isinstance(private_key, Ed25519PrivateKey):
        return private_key.sign
    return lambda digest: private_key.sign(digest, _PADDING, _PREHASHED)
