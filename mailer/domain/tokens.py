"""Signed tokens in links: which subscription a link is for, and what it permits.

A token has the id of a subscription. Its signature covers the nonce of that row, too, since after a
restore the database gives an id out again: a link from before then opens no page.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from itsdangerous import (
    BadData,
    HMACAlgorithm,
    SignatureExpired,
    Signer,
    URLSafeTimedSerializer,
    base64_decode,
)

from mailer.config import Settings
from mailer.errors import ExpiredLink, InvalidLink
from mailer.mail.content import ACCESS_WITHIN, CONFIRM_WITHIN

Purpose = Literal["confirm", "access", "unsubscribe", "one-click", "move"]

_TIMED: Mapping[Purpose, timedelta] = {"confirm": CONFIRM_WITHIN, "access": ACCESS_WITHIN}
# A signature has 43 letters for 32 octets: the last one stands for four bits, and ends in 00.
_SIGNATURE = r"[\w-]{42}[048AEIMQUYcgkosw]"
_SHAPE = re.compile(rf"([0-9]{{1,18}})\.{_SIGNATURE}", re.ASCII)
_TIMED_SHAPE = re.compile(rf"([\w-]{{1,24}})\.[\w-]{{1,12}}\.{_SIGNATURE}", re.ASCII)
_RECENT_KEYS = 2

NonceOf = Callable[[int], int | None]
"""Returns the nonce of a subscription by its id; None for a row from before there were nonces."""


class _Signature(HMACAlgorithm):
    """Signs the nonce together with a value that it is not part of."""

    def __init__(self, nonce: int | None) -> None:
        super().__init__(hashlib.sha256)
        self._nonce = nonce

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        return super().get_signature(key, with_nonce(value, self._nonce))


class _NewestKey:
    """Signs as itsdangerous does, with an HMAC set up once: each recipient takes two tokens."""

    def __init__(self, key: bytes) -> None:
        self._keyed = HMAC(key, SHA256())

    def signature(self, value: bytes) -> bytes:
        signing = self._keyed.copy()
        signing.update(value)
        return urlsafe_b64encode(signing.finalize()).rstrip(b"=")


class Tokens:
    """Signs and reads tokens; one salt per purpose."""

    def __init__(self, settings: Settings) -> None:
        # itsdangerous signs with the last key. The links in every letter ever sent must still
        # unsubscribe, so all SECRET_KEYS verify those.
        self._keys = settings.secret_keys[::-1]
        self._newest = {
            purpose: _NewestKey(self._signer(purpose, None).derive_key())
            for purpose in ("unsubscribe", "one-click", "move")
        }

    def token(self, purpose: Purpose, subscription_id: int, nonce: int | None = None) -> str:
        """Return a token that permits one purpose for one subscription, in URL-safe ASCII."""
        if purpose in _TIMED:
            return str(self._serializer(purpose, nonce).dumps(subscription_id))
        # The id is not serialized: two of these are signed for every recipient of a release.
        number = b"%d" % subscription_id
        signature = self._newest[purpose].signature(with_nonce(number, nonce))
        return (number + b"." + signature).decode()

    def read(self, purpose: Purpose, text: str, nonce_of: NonceOf = lambda _id: None) -> int:
        """Return the subscription's id of the token with which a text begins.

        Mail programs add to a link what stands after it. Raises InvalidLink, or ExpiredLink for a
        token too old.
        """
        found = (_TIMED_SHAPE if purpose in _TIMED else _SHAPE).match(text)
        if found is None:
            raise InvalidLink("This link is not valid.")
        try:
            if purpose not in _TIMED:
                subscription_id = int(found[1])
                self._signer(purpose, nonce_of(subscription_id)).unsign(found[0])
                return subscription_id
            subscription_id = int(base64_decode(found[1]))
            age = int(_TIMED[purpose].total_seconds())
            self._serializer(purpose, nonce_of(subscription_id)).loads(found[0], max_age=age)
        except SignatureExpired:
            raise ExpiredLink(subscription_id, purpose) from None
        except (BadData, ValueError):
            raise InvalidLink("This link is not valid.") from None
        return subscription_id

    def _signer(self, purpose: Purpose, nonce: int | None) -> Signer:
        return Signer(self._keys, salt=purpose, **_how(nonce))

    def _serializer(self, purpose: Purpose, nonce: int | None) -> URLSafeTimedSerializer:
        recent = self._keys[-_RECENT_KEYS:]
        return URLSafeTimedSerializer(recent, salt=purpose, signer_kwargs=_how(nonce))


def _how(nonce: int | None) -> dict[str, Any]:
    return {
        "key_derivation": "hmac",
        "digest_method": hashlib.sha256,
        "algorithm": _Signature(nonce),
    }


def with_nonce(signed: bytes, nonce: int | None) -> bytes:
    """Return what a signature covers: what is signed, and the nonce if the row has one."""
    return signed if nonce is None else b"%b/%d" % (signed, nonce)
