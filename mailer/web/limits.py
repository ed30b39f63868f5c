"""How often one may sign up: a network and all together aloud, one address in silence."""

from __future__ import annotations

import hashlib
import logging
import time
from typing import Any

from flask import Flask, current_app, request
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry
from werkzeug.exceptions import TooManyRequests

from mailer.config import Settings
from mailer.domain.addresses import domain
from mailer.storage.models import Publisher
from mailer.web.guards import network
from mailer.web.pages import settings

_COUNTER = "mailer.limits"
_AT_ONCE: dict[str, Any] = {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
    "retry": Retry(NoBackoff(), 0),
}
_REDIS_LEFT_ALONE_SECONDS = 5.0

Limit = tuple[RateLimitItem, str, str]
"""How often in what time, of what kind is whoever is counted, and who it is."""

log = logging.getLogger(__name__)


class Counter:
    """Counts for the whole service in Redis; for each process while there is none."""

    def __init__(self, redis_url: str | None) -> None:
        # In memory, a window of single moments costs ever more the more of them there are.
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = self._own
        if redis_url:
            url = f"redis+{redis_url}" if redis_url.startswith("unix:") else redis_url
            storage = storage_from_string(url, wrap_exceptions=True, **_AT_ONCE)
            self._shared = SlidingWindowCounterRateLimiter(storage)
        self._alone_until = 0.0

    def admits(self, *limits: Limit) -> bool:
        """Count one sign-up for each of these, and tell whether all have room for it.

        They are counted in this order: who is stopped at one uses up nothing that others need.
        """
        for limit, kind, name in limits:
            if not self._hit(limit, kind, name):
                log.info("A sign-up is stopped at the limit by %s.", kind)
                return False
        return True

    def _hit(self, limit: RateLimitItem, kind: str, name: str) -> bool:
        if time.monotonic() >= self._alone_until:
            try:
                return self._shared.hit(limit, kind, name)
            except StorageError as error:
                log.warning("Redis does not count: %s.", type(error.storage_error).__name__)
                self._alone_until = time.monotonic() + _REDIS_LEFT_ALONE_SECONDS
        return self._own.hit(limit, kind, name)


def limit(app: Flask, settings: Settings) -> None:
    """Let the application count who signs up."""
    app.extensions[_COUNTER] = Counter(settings.redis_url)


def count_request() -> None:
    """Count a sign-up for where it comes from; raises TooManyRequests."""
    given = settings()
    if not _counter().admits(
        (RateLimitItemPerMinute(given.follows_a_minute), "network", _network()),
        (RateLimitItemPerMinute(given.follows_a_minute_in_all), "all", "together"),
    ):
        raise TooManyRequests


def admits(publisher: Publisher, address: str) -> bool:
    """Count a sign-up for whom it is, and tell whether anything may come of it.

    The visitor is told nothing: the answer would say that somebody has asked before.
    """
    given = settings()
    # Redis keeps the names of what is counted: no place for addresses.
    keyed = hashlib.blake2b(address.encode(), key=_pepper()).hexdigest()
    return _counter().admits(
        (RateLimitItemPerHour(given.follows_an_hour_for_address), "address", keyed),
        (RateLimitItemPerHour(given.follows_an_hour_for_domain), "domain", domain(address)),
        (RateLimitItemPerHour(given.follows_an_hour_for_press_room), "room", publisher.slug),
    )


def _counter() -> Counter:
    counter: Counter = current_app.extensions[_COUNTER]
    return counter


def _pepper() -> bytes:
    return hashlib.sha256(settings().secret_keys[0].encode()).digest()


def _network() -> str:
    return network(request.remote_addr) or "nowhere"
