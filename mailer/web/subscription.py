"""Confirming, leaving and coming back: a page with a button each, and one-click (RFC 8058)."""

from __future__ import annotations

from flask import Response, make_response, render_template, request
from werkzeug.exceptions import BadRequest

from mailer.domain.followers import subscriptions
from mailer.domain.followers.subscriptions import Standing
from mailer.domain.releases import press_rooms
from mailer.domain.tokens import Links
from mailer.web import web
from mailer.web.pages import settings, show, speak_as
from mailer.web.request_checks import evidence, form


@web.route("/confirm/<token>", methods=["GET", "POST"])
def confirm(token: str) -> Response:
    """Ask by GET, confirm by POST; both may come again. Raises InvalidLink, ExpiredLink."""
    subscription_id = Links(settings()).read("confirm", token)
    standing = subscriptions.look_up(subscription_id)
    speak_as(standing)
    if request.method != "POST":
        return _confirm_page(standing, subscription_id, token)
    standing = subscriptions.confirm(settings(), subscription_id, evidence("/confirm"))
    if standing.ended:
        return show("ended.html", publisher=standing.publisher)
    return welcome(standing, subscription_id, "now")


def welcome(standing: Standing, subscription_id: int, news: str) -> Response:
    """Show somebody who follows what comes, what may be chosen, and what is newest."""
    publisher = standing.publisher
    return show(
        "following.html",
        publisher=publisher,
        news=news,
        token=Links(settings()).token("unsubscribe", subscription_id),
        latest=press_rooms.latest(publisher),
    )


def _confirm_page(standing: Standing, subscription_id: int, token: str) -> Response:
    if standing.ended:
        return show("ended.html", publisher=standing.publisher)
    if standing.confirmed:
        return welcome(standing, subscription_id, "already")
    return show("confirm.html", publisher=standing.publisher, token=token)


@web.route("/unsubscribe/<token>", methods=["GET", "POST"])
def unsubscribe(token: str) -> Response:
    """Ask by GET, end or take up again by POST; all may come again. Raises InvalidLink."""
    subscription_id = Links(settings()).read("unsubscribe", token)
    standing = subscriptions.look_up(subscription_id)
    speak_as(standing)
    if request.method != "POST":
        return _unsubscribe_page(standing, token)
    if form().get("action") == "undo":
        return _resume(subscription_id)
    proof = evidence("/unsubscribe")
    standing = subscriptions.unsubscribe(settings(), subscription_id, proof)
    return show("goodbye.html", publisher=standing.publisher, token=token)


@web.route("/one-click/<token>", methods=["GET", "POST"])
def one_click(token: str) -> Response:
    """Unsubscribe for a mail client (RFC 8058); a person who comes here is asked."""
    links = Links(settings())
    subscription_id = links.read("one-click", token)
    standing = subscriptions.look_up(subscription_id)
    speak_as(standing)
    if request.method != "POST":
        return _unsubscribe_page(standing, links.token("unsubscribe", subscription_id))
    if form().getlist("List-Unsubscribe") != ["One-Click"]:
        raise BadRequest
    proof = evidence("/one-click")
    standing = subscriptions.unsubscribe(settings(), subscription_id, proof, "one-click")
    response = make_response(render_template("web/one-click.txt", publisher=standing.publisher))
    response.mimetype = "text/plain"
    return response


def _unsubscribe_page(standing: Standing, token: str) -> Response:
    page = "goodbye.html" if standing.ended else "unsubscribe.html"
    return show(page, publisher=standing.publisher, token=token)


def _resume(subscription_id: int) -> Response:
    """Undo; where nothing can be undone, as after an erasure, show how to follow anew."""
    standing = subscriptions.resume(subscription_id, evidence("/unsubscribe"))
    if standing.ended or not standing.confirmed:
        return show("ended.html", publisher=standing.publisher)
    return welcome(standing, subscription_id, "again")
