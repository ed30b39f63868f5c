"""Confirm, unsubscribe and resume: a page with a button each, and one-click (RFC 8058)."""

from __future__ import annotations

from flask import Response, make_response, render_template, request
from werkzeug.exceptions import BadRequest

from mailer.domain.followers import subscriptions
from mailer.domain.followers.subscriptions import SubscriptionView
from mailer.domain.releases import press_rooms
from mailer.domain.tokens import Tokens
from mailer.web import web
from mailer.web.pages import render_page, set_locale_of, settings
from mailer.web.request_checks import evidence, form


@web.route("/confirm/<token>", methods=["GET", "POST"])
def confirm(token: str) -> Response:
    """Show a button (GET); confirm (POST, idempotent). Raises InvalidLink, ExpiredLink."""
    subscription_id = Tokens(settings()).read("confirm", token)
    view = subscriptions.look_up(subscription_id)
    set_locale_of(view)
    if request.method != "POST":
        return _confirm_page(view, subscription_id, token)
    view = subscriptions.confirm(settings(), subscription_id, evidence("/confirm"))
    if view.ended:
        return render_page("ended.html", publisher=view.publisher)
    return welcome(view, subscription_id, "now")


def welcome(view: SubscriptionView, subscription_id: int, news: str) -> Response:
    """Show a follower what to expect, a link to the preferences, and the newest release."""
    publisher = view.publisher
    return render_page(
        "following.html",
        publisher=publisher,
        news=news,
        token=Tokens(settings()).token("unsubscribe", subscription_id),
        latest=press_rooms.latest(publisher),
    )


def _confirm_page(view: SubscriptionView, subscription_id: int, token: str) -> Response:
    if view.ended:
        return render_page("ended.html", publisher=view.publisher)
    if view.confirmed:
        return welcome(view, subscription_id, "already")
    return render_page("confirm.html", publisher=view.publisher, token=token)


@web.route("/unsubscribe/<token>", methods=["GET", "POST"])
def unsubscribe(token: str) -> Response:
    """Show a button (GET); unsubscribe or undo it (POST, idempotent). Raises InvalidLink."""
    subscription_id = Tokens(settings()).read("unsubscribe", token)
    view = subscriptions.look_up(subscription_id)
    set_locale_of(view)
    if request.method != "POST":
        return _unsubscribe_page(view, token)
    if form().get("action") == "undo":
        return _resume(subscription_id)
    proof = evidence("/unsubscribe")
    view = subscriptions.unsubscribe(settings(), subscription_id, proof)
    return render_page("goodbye.html", publisher=view.publisher, token=token)


@web.route("/one-click/<token>", methods=["GET", "POST"])
def one_click(token: str) -> Response:
    """Unsubscribe by a mail client's POST (RFC 8058); a GET shows a page with a button."""
    tokens = Tokens(settings())
    subscription_id = tokens.read("one-click", token)
    view = subscriptions.look_up(subscription_id)
    set_locale_of(view)
    if request.method != "POST":
        return _unsubscribe_page(view, tokens.token("unsubscribe", subscription_id))
    if form().getlist("List-Unsubscribe") != ["One-Click"]:
        raise BadRequest
    proof = evidence("/one-click")
    view = subscriptions.unsubscribe(settings(), subscription_id, proof, "one-click")
    response = make_response(render_template("web/one-click.txt", publisher=view.publisher))
    response.mimetype = "text/plain"
    return response


def _unsubscribe_page(view: SubscriptionView, token: str) -> Response:
    page = "goodbye.html" if view.ended else "unsubscribe.html"
    return render_page(page, publisher=view.publisher, token=token)


def _resume(subscription_id: int) -> Response:
    """Undo an unsubscription; where that is impossible, as after an erasure, say how to follow."""
    view = subscriptions.resume(subscription_id, evidence("/unsubscribe"))
    if view.ended or not view.confirmed:
        return render_page("ended.html", publisher=view.publisher)
    return welcome(view, subscription_id, "again")
