"""The headers of every response, in one place."""

from __future__ import annotations

from flask import Response, current_app, request

from mailer.web import web
from mailer.web.pages import chosen_by_browser, settings, shows_logo


def content_security_policy(*, img_src: str = "'self'", frame_ancestors: str = "'none'") -> str:
    """Return a Content-Security-Policy that allows no scripts."""
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


_A_YEAR = 365 * 24 * 3600
_FRAMED = {"web.embed", "web.follow_embedded"}


@web.after_app_request
def protect(response: Response) -> Response:
    """Add the security headers; on pages with a token, also those that keep the URL private."""
    headers = response.headers
    # setdefault, because a view may have set a wider policy itself.
    policy = content_security_policy(
        img_src="'self' https:" if shows_logo() else "'self'",
        frame_ancestors="*" if framed() else "'none'",
    )
    headers.setdefault("Content-Security-Policy", policy)
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
    """Tell whether the request's URL contains a subscriber's token.

    The path is checked too: a mistyped link, for example with one slash too many, matches no
    route but still contains the token.
    """
    return request.path.lstrip("/").partition("/")[0] in token_paths()


def token_paths() -> list[str]:
    """Return the first path segments of the pages whose URL contains a token, sorted."""
    rules = current_app.url_map.iter_rules()
    return sorted({rule.rule.split("/")[1] for rule in rules if "token" in rule.arguments})


def framed() -> bool:
    """Tell whether the requested page is made for a frame on another site."""
    return request.endpoint in _FRAMED
