"""The second opt-in: a page that asks, and the button that confirms."""

from __future__ import annotations

from flask import Response, request

from mailer.domain import reading, subscriptions
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
        return _question(standing, subscription_id, token)
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
        latest=reading.latest(publisher),
    )


def _question(standing: Standing, subscription_id: int, token: str) -> Response:
    if standing.ended:
        return show("ended.html", publisher=standing.publisher)
    if standing.confirmed:
        return welcome(standing, subscription_id, "already")
    return show("confirm.html", publisher=standing.publisher, token=token)
