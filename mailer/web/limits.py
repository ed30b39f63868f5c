"""How often one may sign up: a network and all together aloud, one address in silence."""

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
_REDIS_LEFT_ALONE_SECONDS = 5.0
_MINUTE, _HOUR = 60, 3600
_NETWORK, _ALL = "network", "all"

log = logging.getLogger(__name__)


class Counter:
    """Counts for the whole service in Redis; for each process while there is none."""

    def __init__(self, redis_url: str | None) -> None:
        self._shared = SharedCounter(redis_url) if redis_url else None
        self._own = OwnCounter()
        self._alone_until = 0.0

    def full(self, limits: Sequence[Limit]) -> Limit | None:
        """Count a sign-up for each of these, up to the first without room, which is returned."""
        if self._shared is not None and time.monotonic() >= self._alone_until:
            try:
                return self._shared.full(limits)
            except RedisError as error:
                log.warning("Redis does not count: %s.", type(error).__name__)
                self._alone_until = time.monotonic() + _REDIS_LEFT_ALONE_SECONDS
        return self._own.full(limits)


def limit(app: Flask, settings: Settings) -> None:
    """Let the application count who signs up."""
    app.extensions[_COUNTER] = Counter(settings.redis_url)


def count_attempt() -> None:
    """Count a sign-up for where it comes from; raises TooManyRequests."""
    _count(_public_limits())


def count_signup(publisher: Publisher, address: str) -> bool:
    """Count a sign-up also for whom it is, and tell whether anything may come of it.

    Raises TooManyRequests for where it comes from. Of the rest the visitor is told nothing: the
    answer would say that somebody has asked before.
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
    # Redis keeps the names of what is counted: no place for addresses.
    keyed = hashlib.blake2b(address.encode(), key=_pepper()).hexdigest()
    return [
        Limit(given.follows_an_hour_for_address, _HOUR, "address", keyed),
        Limit(given.follows_an_hour_for_domain, _HOUR, "domain", domain(address)),
        Limit(given.follows_an_hour_for_press_room, _HOUR, "room", publisher.slug),
    ]


def _count(limits: Sequence[Limit]) -> bool:
    counter: Counter = current_app.extensions[_COUNTER]
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
