"""The headers of every response, in one place."""

from __future__ import annotations

from flask import Response, request

from mailer.web import web
from mailer.web.pages import chosen_by_browser, settings


def policy(*, img_src: str = "'self'", frame_ancestors: str = "'none'") -> str:
    """Return a Content-Security-Policy under which nothing runs."""
    return "; ".join(
        (
            "default-src 'none'",
            "style-src 'self'",
            f"img-src {img_src}",
            "form-action 'self'",
            f"frame-ancestors {frame_ancestors}",
            "base-uri 'none'",
        )
    )


_POLICY = policy()
_IN_A_FRAME = policy(frame_ancestors="*")
_A_YEAR = 365 * 24 * 3600
_TOKEN_PAGES = {"web.confirm", "web.manage", "web.one_click", "web.unsubscribe", "web.your_data"}
_FRAMED = {"web.embed", "web.follow_embedded"}


@web.after_app_request
def protect(response: Response) -> Response:
    """Tell browsers to run nothing, guess nothing, and pass no link on."""
    headers = response.headers
    # A page that may do more says so itself, hence setdefault.
    headers.setdefault("Content-Security-Policy", _IN_A_FRAME if framed() else _POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    if chosen_by_browser():
        response.vary.add("Accept-Language")
    if carries_token():
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cache-Control"] = "no-store"
        headers["X-Robots-Tag"] = "noindex"
    headers.setdefault("Referrer-Policy", "strict-origin-when-cross-origin")
    if settings().base_url.startswith("https:"):
        headers["Strict-Transport-Security"] = f"max-age={_A_YEAR}"
    return response


def carries_token() -> bool:
    """Tell whether the address is somebody's own.

    Look at the path too: a link that leads nowhere, as with a slash too many, has its token.
    """
    first = request.path.lstrip("/").partition("/")[0]
    return request.endpoint in _TOKEN_PAGES or f"web.{first.replace('-', '_')}" in _TOKEN_PAGES


def token_doors() -> list[str]:
    """List how the paths begin that are somebody's own."""
    return sorted(page.removeprefix("web.").replace("_", "-") for page in _TOKEN_PAGES)


def framed() -> bool:
    """Tell whether this is shown inside another page."""
    return request.endpoint in _FRAMED
