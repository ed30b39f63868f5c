"""A release in the browser, with its versions."""

from __future__ import annotations

from flask import Response
from markupsafe import Markup

from mailer.domain import reading
from mailer.domain.reading import Published, changed_at
from mailer.mail.sharing import share_links
from mailer.web import web
from mailer.web.freshness import fresh
from mailer.web.headers import policy
from mailer.web.languages import address
from mailer.web.metadata import news_article, open_graph
from mailer.web.pages import show, speak, wished

# Pictures are the one thing a page takes from elsewhere: they stay where the press room has them.
_WITH_PICTURES = policy(img_src="'self' https: http:")


@web.get("/<slug>/<int:release_id>")
def release(slug: str, release_id: int) -> Response:
    """Show one version of a release, and say if there is a newer one or one before."""
    found = reading.read(slug, release_id)
    speak(wished(found.publisher.locale))
    around = [one for one in (found.release, found.before, found.newest, *found.others) if one]
    response = fresh(
        lambda: _page(found),
        max(map(changed_at, around)),
        found.publisher,
        around,
        found.before is None,
        found.newest is None,
    )
    response.headers["Content-Security-Policy"] = _WITH_PICTURES
    return response


def _page(found: Published) -> Response:
    slug, newest = found.publisher.slug, found.newest or found.release
    own = address("web.release", slug=slug, release_id=found.release.id)
    return show(
        "release.html",
        publisher=found.publisher,
        found=found,
        story=found.body,
        # Sanitised before it was stored.
        body_html=Markup(found.body.body_html),  # noqa: S704
        published_at=found.body.published(found.release.published_at),
        share=share_links(found.body.title, found.body.web_url or own),
        canonical=address("web.release", slug=slug, release_id=newest.id),
        open_graph=open_graph(found, own),
        news_article=news_article(found, own),
    )
