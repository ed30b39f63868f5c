"""A subscriber's personal data, by a link that the subscriber asked for and that expires."""

from __future__ import annotations

import json

from flask import Response, make_response, request
from werkzeug.exceptions import BadRequest

from mailer.domain.followers import erasure, personal_data, subscriptions
from mailer.domain.followers.personal_data import PersonalData
from mailer.domain.tokens import Tokens
from mailer.web import web
from mailer.web.pages import render_page, set_locale_of, settings
from mailer.web.request_checks import form


@web.route("/your-data/<token>", methods=["GET", "POST"])
def your_data(token: str) -> Response:
    """Show (GET), download or erase data (POST, idempotent). Raises InvalidLink, ExpiredLink."""
    subscription_id = Tokens(settings()).read("access", token)
    view = subscriptions.look_up(subscription_id)
    set_locale_of(view)
    action = form().get("action") if request.method == "POST" else "show"
    known = personal_data.for_subscriber_of(subscription_id)
    if known is not None and action == "erase" and _erasable():
        erasure.erase_subscriber_of(settings(), subscription_id)
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
        token=token,
        address=known["address"],
        asked=action == "ask",
        erasable=_erasable(),
    )


def _erasable() -> bool:
    return settings().erasure_key is not None


def _file(known: PersonalData) -> Response:
    response = make_response(json.dumps(known, ensure_ascii=False, indent=2))
    response.mimetype = "application/json"
    response.headers["Content-Disposition"] = 'attachment; filename="your-data.json"'
    return response
