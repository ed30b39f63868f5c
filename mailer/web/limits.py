"""How often one may sign up: a network and all together aloud, one address in silence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Flask, current_app, g, request
from flask_limiter import Limiter
from redis.backoff import NoBackoff
from redis.retry import Retry
from werkzeug.exceptions import TooManyRequests

from mailer.config import Settings
from mailer.domain.addresses import domain
from mailer.storage.models import Publisher
from mailer.web.guards import network
from mailer.web.pages import settings

_GATES = "mailer.limits"
_AT_ONCE: dict[str, Any] = {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
    "retry": Retry(NoBackoff(), 0),
}

Gate = Callable[[], None]
Limit = tuple[str, str, Callable[[], str]]
"""What is counted, how often it may be in what time, and for whom."""


@dataclass(frozen=True, slots=True)
class Gates:
    """Each counts one sign-up for some limits, or raises TooManyRequests at one that is reached."""

    aloud: Gate
    in_silence: Gate


def limit(app: Flask, settings: Settings) -> None:
    """Count sign-ups for the whole service in Redis, for each process without."""
    limiter = Limiter(
        key_func=lambda: "all",
        app=app,
        # In memory, a window of single moments costs ever more the more of them there are.
        strategy="sliding-window-counter",
        storage_uri=_storage(settings.redis_url),
        storage_options=_AT_ONCE if settings.redis_url else {},
        in_memory_fallback_enabled=True,
    )
    app.extensions[_GATES] = _made(limiter, settings)


def count_request() -> None:
    """Count a sign-up for where it comes from; raises TooManyRequests."""
    _gates().aloud()


def admits(publisher: Publisher, address: str) -> bool:
    """Count a sign-up for whom it is, and tell whether anything may come of it.

    The visitor is told nothing: the answer would say that somebody has asked before.
    """
    # The limiter names in its log whom it stops, and Redis keeps it: no place for addresses.
    g.signing_up = {
        "address": hashlib.blake2b(address.encode(), key=_pepper()).hexdigest(),
        "domain": domain(address),
        "press room": publisher.slug,
    }
    try:
        _gates().in_silence()
    except TooManyRequests:
        return False
    return True


def _made(limiter: Limiter, settings: Settings) -> Gates:
    return Gates(
        aloud=_gate(
            limiter,
            "aloud",
            ("network", f"{settings.follows_a_minute}/minute", _network),
            ("all", f"{settings.follows_a_minute_in_all}/minute", lambda: "all"),
        ),
        in_silence=_gate(
            limiter,
            "in silence",
            *(
                (scope, f"{number}/hour", partial(_signing_up, scope))
                for scope, number in (
                    ("address", settings.follows_an_hour_for_address),
                    ("domain", settings.follows_an_hour_for_domain),
                    ("press room", settings.follows_an_hour_for_press_room),
                )
            ),
        ),
    )


def _gate(limiter: Limiter, name: str, *limits: Limit) -> Gate:
    """Count in this order: who is stopped at one uses up nothing that others need."""

    def count() -> None:
        """Do nothing but be counted."""

    # By its name the limiter tells what is counted.
    count.__qualname__ = name
    for scope, each, key in limits:
        count = limiter.shared_limit(each, scope=scope, key_func=key)(count)
    return count


def _gates() -> Gates:
    gates: Gates = current_app.extensions[_GATES]
    return gates


def _pepper() -> bytes:
    return hashlib.sha256(settings().secret_keys[0].encode()).digest()


def _network() -> str:
    return network(request.remote_addr) or "nowhere"


def _signing_up(scope: str) -> str:
    return str(g.signing_up[scope])


def _storage(redis_url: str | None) -> str:
    """Write the address of Redis as the limiter wants it."""
    if redis_url is None:
        return "memory://"
    return f"redis+{redis_url}" if redis_url.startswith("unix:") else redis_url
