"""Confirm, unsubscribe and resume: a page with a button each, and one-click (RFC 8058)."""

from __future__ import annotations

from flask import Response, make_response, render_template, request

from mailer.domain.followers import links, subscriptions
from mailer.domain.followers.subscriptions import SubscriptionView
from mailer.domain.releases import press_rooms
from mailer.web import web
from mailer.web.pages import render_page, set_locale_of, settings, token_to
from mailer.web.request_checks import evidence, form


@web.route("/confirm/<path:token>", methods=["GET", "POST"])
def confirm(token: str) -> Response:
    """Show a button (GET); confirm (POST, idempotent). Raises InvalidLink, ExpiredLink."""
    view = links.opened(settings(), "confirm", token)
    set_locale_of(view)
    if request.method == "POST":
        view = subscriptions.confirm(settings(), view.id, evidence("/confirm"))
        return _ended(view) if view.ended else welcome(view, "now")
    if view.ended:
        return _ended(view)
    if view.confirmed:
        return welcome(view, "already")
    return render_page("confirm.html", publisher=view.publisher, token=token_to("confirm", view))


def welcome(view: SubscriptionView, news: str) -> Response:
    """Show a follower what to expect, a link to the preferences, and the newest release."""
    latest = press_rooms.latest(view.publisher)
    return render_page(
        "following.html",
        publisher=view.publisher,
        news=news,
        token=token_to("unsubscribe", view),
        latest=latest,
        stories=press_rooms.stories(latest),
    )


@web.route("/unsubscribe/<path:token>", methods=["GET", "POST"])
def unsubscribe(token: str) -> Response:
    """Show a button (GET); unsubscribe or undo it (POST, idempotent). Raises InvalidLink."""
    view = links.opened(settings(), "unsubscribe", token)
    set_locale_of(view)
    if request.method != "POST":
        return _way_out(view)
    if form().get("action") == "undo":
        return _resume(view)
    return _way_out(subscriptions.unsubscribe(settings(), view.id, evidence("/unsubscribe")))


@web.route("/one-click/<path:token>", methods=["GET", "POST"])
def one_click(token: str) -> Response:
    """Unsubscribe by a mail client's POST (RFC 8058), whatever it holds; a GET shows a button."""
    view = links.opened(settings(), "one-click", token)
    set_locale_of(view)
    if request.method != "POST":
        return _way_out(view)
    view = subscriptions.unsubscribe(settings(), view.id, evidence("/one-click"), "one-click")
    response = make_response(render_template("web/one-click.txt", publisher=view.publisher))
    response.mimetype = "text/plain"
    return response


def _way_out(view: SubscriptionView) -> Response:
    if view.erased:
        return render_page("forgotten.html", publisher=view.publisher)
    page = "goodbye.html" if view.ended else "unsubscribe.html"
    token = token_to("unsubscribe", view)
    return render_page(page, publisher=view.publisher, view=view, token=token)


def _resume(view: SubscriptionView) -> Response:
    """Undo an unsubscription; where that is impossible, as after an erasure, say how to follow."""
    view = subscriptions.resume(settings(), view.id, evidence("/unsubscribe"))
    return _ended(view) if view.ended or not view.confirmed else welcome(view, "again")


def _ended(view: SubscriptionView) -> Response:
    return render_page("ended.html", publisher=view.publisher)
