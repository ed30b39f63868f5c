"""The public pages of a press room: its releases, each release, and its privacy notice."""

from __future__ import annotations

import re

from flask import Response, make_response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from mailer.domain import publishers
from mailer.domain.followers.retention import UNCONFIRMED_KEPT
from mailer.domain.releases import press_rooms
from mailer.domain.releases.press_rooms import Published, changed_at
from mailer.errors import NotFound
from mailer.mail.colours import ACCENT, on_dark
from mailer.mail.formats import share_links
from mailer.mail.locales import long_duration
from mailer.web import web
from mailer.web.headers import content_security_policy
from mailer.web.http_cache import conditional_response
from mailer.web.languages import address
from mailer.web.metadata import news_article, open_graph
from mailer.web.pages import (
    get_locale,
    negotiate_locale,
    publisher_at,
    render_page,
    set_locale,
    settings,
)

_RELEASES_A_PAGE = 10
# Only pictures come from other hosts: each stays at the URL that the press room gave.
_WITH_PICTURES = content_security_policy(img_src="'self' https: http:")


@web.get("/")
def home() -> AnyResponse:
    """List the press rooms; where there is only one, redirect to it."""
    rooms = publishers.every()
    if not rooms:
        raise NotFound("There is no press room yet.")
    if len(rooms) == 1:
        return redirect(url_for("web.press_room", slug=rooms[0].slug))
    set_locale(negotiate_locale(rooms[0].locale))
    return render_page("home.html", rooms=rooms, publisher=None)


@web.get("/<slug>/colours.css")
def colours(slug: str) -> Response:
    """Answer with the colour of a press room, for its pages."""
    accent = publishers.find(slug).accent or ACCENT
    response = make_response(
        render_template("web/colours.css", accent=accent, dark=on_dark(accent))
    )
    response.mimetype = "text/css"
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response


@web.get("/<slug>/")
def press_room(slug: str) -> Response:
    """Show the press room, with a page of its releases and the follow box."""
    page = press_rooms.page(slug, _RELEASES_A_PAGE, _number())
    set_locale(negotiate_locale(page.publisher.locale))
    return conditional_response(
        lambda: render_page(
            "press-room.html",
            publisher=page.publisher,
            page=page,
            stories=press_rooms.stories(page.releases),
        ),
        page.changed_at,
        page.publisher,
        page.releases,
        page.number,
        page.more,
    )


@web.get("/<slug>")
def redirect_to_slash(slug: str) -> AnyResponse:
    """Redirect a path without the trailing slash to the press room, on the same host."""
    return redirect(url_for("web.press_room", slug=publisher_at(slug).slug), 308)


def _number() -> int:
    """Return the requested page's number. Raises NotFound for other text."""
    number = request.args.get("page", "1")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", number):
        raise NotFound("There is no such page.")
    return int(number)


@web.get("/<slug>/<int:release_id>")
def release(slug: str, release_id: int) -> Response:
    """Show one version of a release, and link to the newest version and the one before."""
    found = press_rooms.read(slug, release_id)
    set_locale(negotiate_locale(found.publisher.locale))
    around = [one for one in (found.release, found.before, found.newest, *found.others) if one]
    response = conditional_response(
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
    stories = press_rooms.stories((found.release, *found.others))
    story = stories.get(found.release.id)
    if story is None:
        raise NotFound("This release cannot be read.")
    return render_page(
        "release.html",
        publisher=found.publisher,
        found=found,
        stories=stories,
        story=story,
        # The HTML was sanitised before it was stored.
        body_html=Markup(story.body_html),  # noqa: S704
        share=share_links(story.title, story.web_url or own),
        canonical=address("web.release", slug=slug, release_id=newest.id),
        open_graph=open_graph(found, story, own),
        news_article=news_article(found, story, own),
    )


@web.get("/<slug>/privacy")
def privacy(slug: str) -> Response:
    """Show the privacy notice, and what the press room adds to it."""
    publisher = publisher_at(slug)
    kept = long_duration(settings().keep_ended_days, get_locale())
    days = UNCONFIRMED_KEPT.days
    return render_page("privacy.html", publisher=publisher, kept=kept, unconfirmed_days=days)
