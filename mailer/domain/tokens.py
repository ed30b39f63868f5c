"""Signed tokens in links: which subscription a link is for, and what it permits."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from itsdangerous import BadData, SignatureExpired, Signer, URLSafeTimedSerializer

from mailer.config import Settings
from mailer.errors import ExpiredLink, InvalidLink

Purpose = Literal["confirm", "access", "unsubscribe", "one-click"]

CONFIRM_WITHIN = timedelta(hours=48)
ACCESS_WITHIN = timedelta(hours=24)
_TIMED: Mapping[Purpose, timedelta] = {"confirm": CONFIRM_WITHIN, "access": ACCESS_WITHIN}
# A signature has 43 letters for 32 octets: the last one stands for four bits, and ends in 00.
_LAST_LETTERS = tuple("048AEIMQUYcgkosw")
_FOR_EVER: tuple[Purpose, ...] = ("unsubscribe", "one-click")
_DERIVATION = "hmac"
_RECENT_KEYS = 2


class _NewestKey:
    """Signs as itsdangerous does, with an HMAC set up once: each recipient takes two tokens."""

    def __init__(self, key: bytes) -> None:
        self._keyed = HMAC(key, SHA256())

    def signature(self, value: bytes) -> bytes:
        signing = self._keyed.copy()
        signing.update(value)
        return urlsafe_b64encode(signing.finalize()).rstrip(b"=")


class Tokens:
    """Signs and reads tokens; one salt per purpose, and the payload is the subscription's id."""

    def __init__(self, settings: Settings) -> None:
        self._timed = {
            purpose: URLSafeTimedSerializer(
                _oldest_first(settings.secret_keys[:_RECENT_KEYS]),
                salt=purpose,
                signer_kwargs={"key_derivation": _DERIVATION, "digest_method": hashlib.sha256},
            )
            for purpose in _TIMED
        }
        # The links in every letter ever sent must still unsubscribe, so all SECRET_KEYS verify.
        self._for_ever = {
            purpose: Signer(
                _oldest_first(settings.secret_keys),
                salt=purpose,
                key_derivation=_DERIVATION,
                digest_method=hashlib.sha256,
            )
            for purpose in _FOR_EVER
        }
        self._newest = {
            purpose: _NewestKey(signer.derive_key()) for purpose, signer in self._for_ever.items()
        }

    def token(self, purpose: Purpose, subscription_id: int) -> str:
        """Return a token that permits one purpose for one subscription, in URL-safe ASCII."""
        if purpose in _TIMED:
            return str(self._timed[purpose].dumps(subscription_id))
        # The id is not serialized: two of these are signed for every recipient of a release.
        number = b"%d" % subscription_id
        return (number + b"." + self._newest[purpose].signature(number)).decode()

    def read(self, purpose: Purpose, token: str) -> int:
        """Return the subscription's id; raises InvalidLink, or ExpiredLink for a token too old."""
        if not token.endswith(_LAST_LETTERS):
            raise InvalidLink("This link is not valid.")
        try:
            if purpose in _TIMED:
                age = int(_TIMED[purpose].total_seconds())
                payload = self._timed[purpose].loads(token, max_age=age)
            else:
                payload = self._for_ever[purpose].unsign(token)
        except SignatureExpired as old:
            number = int(self._timed[purpose].load_payload(old.payload or b""))
            raise ExpiredLink(number, purpose) from None
        except BadData:
            raise InvalidLink("This link is not valid.") from None
        return int(payload)


def _oldest_first(keys: tuple[str, ...]) -> list[str]:
    """Return keys in the order that itsdangerous wants: it signs with the last one."""
    return list(reversed(keys))
