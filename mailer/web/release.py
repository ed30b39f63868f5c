"""A release in the browser, with its versions."""

from __future__ import annotations

from flask import Response
from markupsafe import Markup

from mailer.domain import reading
from mailer.mail.locales import best
from mailer.web import web
from mailer.web.headers import policy
from mailer.web.pages import long_date, show, speak

# Pictures are the one thing a page takes from elsewhere: they stay where the press room has them.
_WITH_PICTURES = policy(img_src="'self' https: http:")


@web.get("/<slug>/<int:release_id>")
def release(slug: str, release_id: int) -> Response:
    """Show one version of a release, and say if there is a newer one or one before."""
    found = reading.read(slug, release_id)
    speak(best(None, found.publisher.locale))
    response = show(
        "release.html",
        publisher=found.publisher,
        found=found,
        story=found.body,
        # Sanitised before it was stored.
        body_html=Markup(found.body.body_html),  # noqa: S704
        published_at=found.body.published(found.release.published_at),
        long_date=long_date,
    )
    response.headers["Content-Security-Policy"] = _WITH_PICTURES
    return response
