"""A subscriber's personal data, by a link that the subscriber asked for and that expires."""

from __future__ import annotations

import json

from flask import Response, make_response, request
from werkzeug.exceptions import BadRequest

from mailer.domain.followers import erasure, links, personal_data, preferences
from mailer.domain.followers.personal_data import PersonalData
from mailer.web import web
from mailer.web.pages import render_page, set_locale_of, settings, token_to
from mailer.web.request_checks import form


@web.route("/your-data/<path:token>", methods=["GET", "POST"])
def your_data(token: str) -> Response:
    """Show (GET), download or erase data (POST, idempotent). Raises InvalidLink, ExpiredLink."""
    view = links.opened(settings(), "access", token)
    set_locale_of(view)
    if preferences.is_held(view.id):
        return render_page("later.html", 403, publisher=view.publisher)
    action = form().get("action") if request.method == "POST" else "show"
    known = personal_data.for_subscriber_of(view.id)
    if known is not None and action == "erase" and _erasable():
        erasure.erase_subscriber_of(settings(), view.id)
        known = None
    if known is None:
        return render_page("forgotten.html", publisher=view.publisher)
    if action == "download":
        return _file(known)
    if action not in ("show", "ask"):
        raise BadRequest
    return render_page(
        "your-data.html",
        publisher=view.publisher,
        token=token_to("access", view),
        address=known["address"],
        known=known,
        as_json=json.dumps(known, ensure_ascii=False, indent=2),
        asked=action == "ask",
        erasable=_erasable(),
    )


@web.route("/why/<path:token>")
def why(token: str) -> Response:
    """Say why a follower may not have got a press release. Raises InvalidLink."""
    view = links.opened(settings(), "unsubscribe", token)
    set_locale_of(view)
    reasons = personal_data.reasons(view.id)
    if reasons is None:
        return render_page("forgotten.html", publisher=view.publisher)
    token = token_to("unsubscribe", view)
    return render_page("why.html", publisher=view.publisher, view=view, why=reasons, token=token)


def _erasable() -> bool:
    return settings().erasure_key is not None


def _file(known: PersonalData) -> Response:
    response = make_response(json.dumps(known, ensure_ascii=False, indent=2))
    response.mimetype = "application/json"
    response.headers["Content-Disposition"] = 'attachment; filename="your-data.json"'
    return response
