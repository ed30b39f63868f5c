"""Limits on sign-ups: by network and in all (429); by address, domain, press room (silent)."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence

from flask import Flask, current_app, request
from redis import RedisError
from werkzeug.exceptions import TooManyRequests

from mailer.config import Settings
from mailer.mail.addresses import domain
from mailer.storage.models import Publisher
from mailer.storage.rate_limits import Limit, OwnCounter, SharedCounter
from mailer.web.pages import settings
from mailer.web.request_checks import network

_COUNTER = "mailer.limits"
_REDIS_RETRY_SECONDS = 5.0
_MINUTE, _HOUR = 60, 3600
_NETWORK, _ALL = "network", "all"

log = logging.getLogger(__name__)


class SignupCounter:
    """Counts sign-ups for all processes in Redis; in each process alone while Redis is away."""

    def __init__(self, redis_url: str | None) -> None:
        self._shared = SharedCounter(redis_url) if redis_url else None
        self._own = OwnCounter()
        self._redis_retry_at = 0.0

    def full(self, limits: Sequence[Limit]) -> Limit | None:
        """Count a sign-up for each limit, up to the first that is full, which is returned."""
        if self._shared is not None and time.monotonic() >= self._redis_retry_at:
            try:
                return self._shared.full(limits)
            except RedisError as error:
                log.warning("Redis does not count: %s.", type(error).__name__)
                self._redis_retry_at = time.monotonic() + _REDIS_RETRY_SECONDS
        return self._own.full(limits)


def init_app(app: Flask, settings: Settings) -> None:
    """Add the counter of sign-ups to the application."""
    app.extensions[_COUNTER] = SignupCounter(settings.redis_url)


def count_attempt() -> None:
    """Count a sign-up for the public limits alone; raises TooManyRequests."""
    _count(_public_limits())


def count_signup(publisher: Publisher, address: str) -> bool:
    """Count a sign-up for all limits, and tell whether it may go on.

    Raises TooManyRequests at a public limit. A silent limit is not shown to the visitor: the
    answer would tell that this address was entered before.
    """
    return _count([*_public_limits(), *_silent_limits(publisher, address)])


def _public_limits() -> list[Limit]:
    given = settings()
    return [
        Limit(given.follows_a_minute, _MINUTE, _NETWORK, _network()),
        Limit(given.follows_a_minute_in_all, _MINUTE, _ALL, "together"),
    ]


def _silent_limits(publisher: Publisher, address: str) -> list[Limit]:
    given = settings()
    # The name is stored in Redis, where no address may be readable.
    keyed = hashlib.blake2b(address.encode(), key=_pepper()).hexdigest()
    return [
        Limit(given.follows_an_hour_for_address, _HOUR, "address", keyed),
        Limit(given.follows_an_hour_for_domain, _HOUR, "domain", domain(address)),
        Limit(given.follows_an_hour_for_press_room, _HOUR, "room", publisher.slug),
    ]


def _count(limits: Sequence[Limit]) -> bool:
    counter: SignupCounter = current_app.extensions[_COUNTER]
    full = counter.full(limits)
    if full is None:
        return True
    log.info("A sign-up is stopped at the limit by %s.", full.kind)
    if full.kind in (_NETWORK, _ALL):
        raise TooManyRequests
    return False


def _pepper() -> bytes:
    return hashlib.sha256(settings().secret_keys[0].encode()).digest()


def _network() -> str:
    return network(request.remote_addr) or "nowhere"
