"""Limits on sign-ups: by network, by press room and in all; and by address, in silence.

What a mailbox and a mail domain may be sent is counted in the database (`domain.followers.signup`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from flask import Flask, current_app, request
from redis import RedisError
from werkzeug.exceptions import TooManyRequests

from mailer.config import Settings
from mailer.domain.followers.signup import digest
from mailer.mail.addresses import folded
from mailer.storage.models import Publisher
from mailer.storage.rate_limits import Booked, Limit, OwnBooking, SharedBooking
from mailer.web.pages import settings
from mailer.web.request_checks import ip_address, network_of

_BOOKING = "mailer.limits"
_REDIS_RETRY_SECONDS = 5.0
_MINUTE, _HOUR = 60, 3600
_NETWORKS = {4: {32: 1, 24: 10}, 6: {64: 1, 56: 3, 48: 10}}
"""By how much the limit of one address grows with the size of its network."""
_WAITING = 200
"""How many sign-ups of a network wait for their letters: an office, after a meeting."""

log = logging.getLogger(__name__)


class SignupBooking:
    """Books the turns of sign-ups for all processes in Redis; in each alone while it is away."""

    def __init__(self, redis_url: str | None) -> None:
        self._shared = SharedBooking(redis_url) if redis_url else None
        self._own = OwnBooking()
        self._redis_retry_at = 0.0

    def book(self, limits: Sequence[Limit]) -> Booked:
        """Book one turn at every limit, or none if one is full."""
        if self._shared is not None and time.monotonic() >= self._redis_retry_at:
            try:
                return self._shared.book(limits)
            except RedisError as error:
                log.warning("Redis does not count: %s.", type(error).__name__)
                self._redis_retry_at = time.monotonic() + _REDIS_RETRY_SECONDS
        return self._own.book(limits)


def init_app(app: Flask, settings: Settings) -> None:
    """Add the booking of sign-ups to the application."""
    app.extensions[_BOOKING] = SignupBooking(settings.redis_url)


def count_attempt() -> None:
    """Count what is no sign-up for the limits by network and in all; raises TooManyRequests."""
    _book(_public_limits())


def count_signup(publisher: Publisher, address: str) -> float | None:
    """Return the seconds until the turn of a sign-up, None at the limit of its address.

    That limit is not shown to the visitor: the letter of the last sign-ups is there. Raises
    TooManyRequests at any other limit.
    """
    given = settings()
    # The name is stored in Redis, where no address may be readable.
    mailbox = digest(given, folded(address))
    return _book(
        [
            *_public_limits(),
            Limit(given.follows_an_hour_for_press_room, _HOUR, "room", publisher.slug),
            Limit(given.follows_an_hour_for_address, _HOUR, "address", mailbox),
        ]
    )


def _public_limits() -> list[Limit]:
    given = settings()
    return [
        *_network_limits(given.follows_a_minute),
        Limit(given.follows_a_minute_in_all, _MINUTE, "all", "together"),
    ]


def _network_limits(of_an_address: int) -> list[Limit]:
    """Return a limit for each network that the visitor's address is in."""
    ip = ip_address(request.remote_addr)
    if ip is None:
        return [Limit(of_an_address, _MINUTE, "network", "nowhere", _WAITING)]
    return [
        Limit(of_an_address * more, _MINUTE, "network", network_of(ip, prefix), _WAITING)
        for prefix, more in _NETWORKS[ip.version].items()
    ]


def _book(limits: Sequence[Limit]) -> float | None:
    booking: SignupBooking = current_app.extensions[_BOOKING]
    full, wait = booking.book(limits)
    if full is None:
        return wait
    log.info("A sign-up is stopped at the limit by %s.", full.kind)
    if full.kind != "address":
        raise TooManyRequests
    return None
