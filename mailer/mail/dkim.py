"""DKIM: signs a composed message for each recipient (RFC 6376, RFC 8463).

Signing costs little more than the arithmetic of a key: headers are brought into their canonical
form once, and the octets that all recipients have in common are hashed once.
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

from mailer.mail.message import Composed, Slotted, slot
from mailer.relay import DkimKey

# Named once more in "h=" than they occur, so that adding another breaks the signature (RFC 6376,
# 8.15).
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
_BODY_HASH = "body_hash"
_PADDING = PKCS1v15()
_PREHASHED = Prehashed(SHA256())


@dataclass(frozen=True, slots=True)
class Signature:
    """The octets that one key signs, and the slot of its DKIM-Signature field for the result.

    `canonical` holds the headers from the first slot on, and the DKIM-Signature field itself.
    """

    slot: str
    canonical: Slotted
    signer: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Signed(Composed):
    """A composed message that is signed, by each of its keys, when it is filled.

    `beginning` holds its octets from the DKIM-Signature fields to the first slot in the body, and
    `rest` the others. `headers` and `body` are hashes of the octets before the first slot of each.
    """

    beginning: Slotted
    rest: Slotted
    headers: hashlib._Hash
    body: hashlib._Hash
    signatures: tuple[Signature, ...]

    def fill(self, values: Mapping[str, str]) -> bytes:
        """Return the message for one recipient, signed; the same values give the same octets."""
        encoded = self.encode(values, self.octets.names)
        rest = self.rest.fill(encoded)
        body = self.body.copy()
        body.update(rest)
        encoded[_BODY_HASH] = b2a_base64(body.digest(), newline=False)
        for signature in self.signatures:
            headers = self.headers.copy()
            headers.update(signature.canonical.fill(encoded))
            signed = b2a_base64(signature.signer(headers.digest()), newline=False)
            lines = [signed[start : start + _LINE] for start in range(0, len(signed), _LINE)]
            encoded[signature.slot] = b"\r\n ".join(lines)
        return b"".join((*self.beginning.pieces(encoded), rest))


def keys_for(keys: Iterable[DkimKey], sender: str) -> tuple[DkimKey, ...]:
    """Return the keys that sign for a sender: those of its domain, or of the nearest one above.

    The signature is then aligned with the From header, as DMARC requires (RFC 7489, 3.1.1).
    """
    domain = sender.rpartition("@")[2]
    aligned = [key for key in keys if f".{domain}".endswith(f".{key.domain}")]
    nearest = max((key.domain for key in aligned), key=len, default="")
    return tuple(key for key in aligned if key.domain == nearest)


def sign(composed: Composed, keys: Sequence[DkimKey], moment: datetime) -> Composed:
    """Return a message that every key signs, with a moment that has to be the same at each retry.

    The headers are signed relaxed and the body simple: no relay has a reason to change a body
    of short lines in ASCII. Without keys, the message is returned as it is.
    """
    if not keys:
        return composed
    head, gap, body = composed.octets.marked().partition(b"\r\n\r\n")
    names, canonical = _canonical(head)
    common_headers, own_headers = Slotted(canonical).divided()
    common_body, rest = Slotted(body).divided()
    fields, signatures = b"", []
    for number, key in enumerate(keys, start=1):
        name = f"signature_{number}"
        tags = _tags(key, names, int(moment.timestamp()))
        fields += _field(tags, name)
        unsigned = f"dkim-signature:{tags} bh={slot(_BODY_HASH)}; b=".encode()
        signatures.append(Signature(name, Slotted(own_headers.marked() + unsigned), _signer(key)))
    return Signed(
        octets=composed.octets,
        tokens=composed.tokens,
        beginning=Slotted(fields + head + gap + common_body),
        rest=rest,
        headers=hashlib.sha256(common_headers),
        body=hashlib.sha256(common_body),
        signatures=tuple(signatures),
    )


def dns_record(key: DkimKey) -> tuple[str, str]:
    """Return the name and the text of the TXT record with which verifiers find the public key."""
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

    Of several headers with one name, verifiers read the lowest first (RFC 6376, 5.4.2).
    """
    parted = [field.partition(b":") for field in reversed(_FIELD_END.split(head))]
    fields = [(name.lower(), b" ".join(value.split())) for name, _, value in parted]
    slotted = {name for name, value in fields if Slotted(value).names}
    fields.sort(key=lambda field: field[0] in slotted)
    names = [name.decode() for name, _ in fields]
    return [*names, *_OVERSIGNED], b"".join(b"%b:%b\r\n" % field for field in fields)


def _tags(key: DkimKey, names: Iterable[str], seconds: int) -> str:
    """Return the tags of a DKIM-Signature field (RFC 6376, 3.5) except "bh=" and "b="."""
    ed25519 = isinstance(key.private_key, Ed25519PrivateKey)
    return (
        f"v=1; a={'ed25519' if ed25519 else 'rsa'}-sha256; c=relaxed/simple; d={key.domain}; "
        f"s={key.selector}; t={seconds}; h={': '.join(names)};"
    )


def _field(tags: str, name: str) -> bytes:
    """Return the DKIM-Signature field with its slots, folded at spaces."""
    folded = textwrap.fill(
        f"DKIM-Signature: {tags}",
        _LINE,
        subsequent_indent=" ",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\n", "\r\n")
    return f"{folded}\r\n bh={slot(_BODY_HASH)};\r\n b={slot(name)}\r\n".encode()


def _signer(key: DkimKey) -> Callable[[bytes], bytes]:
    private_key = key.private_key
    if isinstance(private_key, Ed25519PrivateKey):
        from nacl.signing import SigningKey  # noqa: PLC0415 - two megabytes, for Ed25519 only

        # libsodium needs about two thirds of OpenSSL's time; the octets are the same (RFC 8032).
        ed25519 = SigningKey(private_key.private_bytes_raw())
        return lambda digest: ed25519.sign(digest).signature
    return lambda digest: private_key.sign(digest, _PADDING, _PREHASHED)
