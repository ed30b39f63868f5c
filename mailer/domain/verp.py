"""Return paths (VERP): addresses at our mail domain that encode what mail to them is about."""

from __future__ import annotations

import hmac
import re
from base64 import b32decode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import Literal, cast, get_args

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from mailer.config import Settings
from mailer.domain.tokens import NonceOf, with_nonce
from mailer.errors import Misconfigured, UnknownMailbox

Purpose = Literal["bounce", "unsubscribe"]

# Whole groups of five octets, which base32 writes as eight letters without padding, so that each
# address has one spelling only. Five octets for each id are enough for a trillion ids.
_ID_BITS = 40
_PAYLOAD_OCTETS = 2 * _ID_BITS // 8
_MAC_OCTETS = 10
_LETTERS = (_PAYLOAD_OCTETS + _MAC_OCTETS) // 5 * 8
# Base32 (RFC 4648, 6), two letters at a time, takes half the time of the standard library's:
# every recipient of a release needs two addresses.
_PAIRS = ["".join(pair) for pair in product("abcdefghijklmnopqrstuvwxyz234567", repeat=2)]
_SHIFTS = range(_LETTERS * 5 - 10, -1, -10)
_ADDRESS = re.compile(rf"({'|'.join(get_args(Purpose))})-([a-z2-7]{{{_LETTERS}}})@.*")


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """What an address encodes: its purpose, a subscription, and a release if it is about one."""

    purpose: Purpose
    subscription_id: int
    release_id: int | None


class ReturnPaths:
    """Makes and reads return paths; one key per purpose, so that no address has two purposes.

    The local part is the purpose and 32 letters of base32, at most 44 octets (RFC 5321,
    4.5.3.1.1): two ids, and 80 bits of an HMAC of them. Upper and lower case are read alike.
    """

    def __init__(self, settings: Settings) -> None:
        """Set up an HMAC for each key; raises Misconfigured without MAILER_MAIL_DOMAIN."""
        if settings.mail_domain is None:
            raise Misconfigured("MAILER_MAIL_DOMAIN: is not set.")
        self._domain = settings.mail_domain
        self._keyed = {
            purpose: [_keyed(key, purpose) for key in settings.secret_keys]
            for purpose in get_args(Purpose)
        }

    def address(
        self, purpose: Purpose, subscription_id: int, release_id: int = 0, nonce: int | None = None
    ) -> str:
        """Return the address for a subscription and a release; release_id 0 means no release."""
        payload = (subscription_id << _ID_BITS | release_id).to_bytes(_PAYLOAD_OCTETS, "big")
        number = int.from_bytes(
            payload + _mac(self._keyed[purpose][0], with_nonce(payload, nonce)), "big"
        )
        letters = "".join([_PAIRS[number >> shift & 0x3FF] for shift in _SHIFTS])
        return f"{purpose}-{letters}@{self._domain}"

    def read(self, addresses: Iterable[str], nonce_of: NonceOf = lambda _id: None) -> ReturnPath:
        """Return what the first address made here encodes; raises UnknownMailbox if none was.

        All SECRET_KEYS verify, and any domain is accepted, since recipients keep letters for years.
        """
        for address in addresses:
            found = _ADDRESS.fullmatch(address.lower())
            if found is None:
                continue
            octets = b32decode(found[2].upper())
            payload, mac = octets[:_PAYLOAD_OCTETS], octets[_PAYLOAD_OCTETS:]
            subscription_id, release_id = divmod(int.from_bytes(payload, "big"), 1 << _ID_BITS)
            purpose, signed = (
                cast(Purpose, found[1]),
                with_nonce(payload, nonce_of(subscription_id)),
            )
            if any(hmac.compare_digest(mac, _mac(key, signed)) for key in self._keyed[purpose]):
                return ReturnPath(purpose, subscription_id, release_id or None)
        raise UnknownMailbox("No mailbox has this address.")


def _keyed(secret: str, purpose: Purpose) -> HMAC:
    """Set up an HMAC with the key derived for a purpose; it is copied for every address."""
    # With another label, no address in a letter that was already sent would verify.
    label = f"mailbox {purpose}".encode()
    return HMAC(hmac.digest(secret.encode(), label, sha256), SHA256())


def _mac(keyed: HMAC, payload: bytes) -> bytes:
    signing = keyed.copy()
    signing.update(payload)
    return signing.finalize()[:_MAC_OCTETS]
