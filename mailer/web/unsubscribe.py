"""The way out, and back: by a page with a button, and by the button of a mail client."""

from __future__ import annotations

from flask import Response, make_response, render_template, request
from werkzeug.exceptions import BadRequest

from mailer.domain import subscriptions
from mailer.domain.links import Links
from mailer.domain.subscriptions import Standing
from mailer.web import web
from mailer.web.confirm import welcome
from mailer.web.guards import evidence, form
from mailer.web.pages import settings, show, speak_as


@web.route("/unsubscribe/<token>", methods=["GET", "POST"])
def unsubscribe(token: str) -> Response:
    """Ask by GET, end or take up again by POST; all may come again. Raises InvalidLink."""
    subscription_id = Links(settings()).read("unsubscribe", token)
    standing = subscriptions.look_up(subscription_id)
    speak_as(standing)
    if request.method != "POST":
        return _question(standing, token)
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
        return _question(standing, links.token("unsubscribe", subscription_id))
    if form().getlist("List-Unsubscribe") != ["One-Click"]:
        raise BadRequest
    proof = evidence("/one-click")
    standing = subscriptions.unsubscribe(settings(), subscription_id, proof, "one-click")
    response = make_response(render_template("web/one-click.txt", publisher=standing.publisher))
    response.mimetype = "text/plain"
    return response


def _question(standing: Standing, token: str) -> Response:
    page = "goodbye.html" if standing.ended else "unsubscribe.html"
    return show(page, publisher=standing.publisher, token=token)


def _resume(subscription_id: int) -> Response:
    """Undo; where nothing can be undone, as after an erasure, show how to follow anew."""
    standing = subscriptions.resume(subscription_id, evidence("/unsubscribe"))
    if standing.ended or not standing.confirmed:
        return show("ended.html", publisher=standing.publisher)
    return welcome(standing, subscription_id, "again")
