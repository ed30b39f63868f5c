"""How often one network may sign up; what one person is sent is limited by the domain."""

from __future__ import annotations

from typing import Any, cast

from flask import Flask, request
from flask_limiter import Limiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailer.config import Settings
from mailer.web.guards import network

_LIMITED = ("web.follow", "web.follow_embedded")
_AT_ONCE: dict[str, Any] = {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
    "retry": Retry(NoBackoff(), 0),
}


def limit(app: Flask, settings: Settings) -> None:
    """Limit sign-ups by network: for the whole service in Redis, for each process without."""
    limiter = Limiter(
        key_func=lambda: network(request.remote_addr) or "nowhere",
        app=app,
        strategy="moving-window",
        storage_uri=_storage(settings.redis_url),
        storage_options=_AT_ONCE if settings.redis_url else {},
        in_memory_fallback_enabled=True,
    )
    views = cast("dict[str, Any]", app.view_functions)
    limited = limiter.shared_limit(f"{settings.follows_a_minute} per minute", scope="follow")
    for view in _LIMITED:
        views[view] = limited(views[view])


def _storage(redis_url: str | None) -> str:
    """Write the address of Redis as the limiter wants it."""
    if redis_url is None:
        return "memory://"
    return f"redis+{redis_url}" if redis_url.startswith("unix:") else redis_url
