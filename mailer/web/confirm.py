"""The second opt-in: a page that asks, and the button that confirms."""

from __future__ import annotations

from flask import Response, request

from mailer.domain import subscriptions
from mailer.domain.links import Links
from mailer.domain.subscriptions import Standing
from mailer.web import web
from mailer.web.guards import evidence
from mailer.web.pages import settings, show, speak_as


@web.route("/confirm/<token>", methods=["GET", "POST"])
def confirm(token: str) -> Response:
    """Ask by GET, confirm by POST; both may come again. Raises InvalidLink, ExpiredLink."""
    subscription_id = Links(settings()).read("confirm", token)
    standing = subscriptions.look_up(subscription_id)
    speak_as(standing)
    if request.method != "POST":
        return _question(standing, token)
    standing = subscriptions.confirm(settings(), subscription_id, evidence("/confirm"))
    if standing.ended:
        return show("ended.html", publisher=standing.publisher)
    return show("following.html", publisher=standing.publisher, news="now")


def _question(standing: Standing, token: str) -> Response:
    if standing.ended:
        return show("ended.html", publisher=standing.publisher)
    if standing.confirmed:
        return show("following.html", publisher=standing.publisher, news="already")
    return show("confirm.html", publisher=standing.publisher, token=token)
