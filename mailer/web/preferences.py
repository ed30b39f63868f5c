"""The preferences page of a subscription, and the change of its address.

The link to the page never expires. Its token is the one for unsubscribing: it allows what can be
undone, and nothing else.
"""

from __future__ import annotations

from flask import Response, request, url_for
from werkzeug.exceptions import BadRequest

from mailer.domain.followers import address_change, links, preferences
from mailer.domain.followers.signup import Answer
from mailer.domain.followers.subscriptions import SubscriptionView
from mailer.mail.locales import available, own_name
from mailer.web import web
from mailer.web.follow import SignUp, ask_mailbox
from mailer.web.pages import get_locale, render_page, set_locale, set_locale_of, settings, token_to
from mailer.web.request_checks import evidence, form


@web.route("/manage/<path:token>", methods=["GET", "POST"])
def manage(token: str) -> Response:
    """Show the preferences (GET), change one (POST); both may be repeated. Raises InvalidLink."""
    view = links.opened(settings(), "unsubscribe", token)
    set_locale_of(view)
    if view.erased:
        return render_page("forgotten.html", publisher=view.publisher)
    done, given = None, None
    if request.method == "POST" and "address" in form():
        given = _ask_to_move(view)
    elif request.method == "POST":
        done = _choose(view.id)
    everywhere = "everywhere" in form()
    chosen = preferences.look_up(view.id)
    token = token_to("unsubscribe", view)
    if chosen is None:
        return render_page("left.html", publisher=view.publisher, view=view, token=token, done=done)
    if given and given.suggestion:
        return render_page(
            "slip.html", publisher=view.publisher, given=given, token=token, everywhere=everywhere
        )
    others = [
        (url_for("web.manage", token=token_to("unsubscribe", one)), one.publisher.name)
        for one in chosen.others
    ]
    locales = [(locale, own_name(locale)) for locale in available()]
    return render_page(
        "manage.html",
        422 if given and (given.problem or given.answer != "asked") else 200,
        publisher=view.publisher,
        preferences=chosen,
        done=done,
        given=given,
        everywhere=everywhere,
        token=token,
        others=others,
        language=own_name(get_locale(), in_sentence=True),
        locales=locales,
    )


def _choose(subscription_id: int) -> str:
    """Do the action of the button that was pressed, and return its name; it may be repeated.

    The name is "later" if the link to the data is not sent yet.
    """
    fields = form()
    match [(name, value) for name, value in fields.items(multi=True)]:
        case [("language", locale)] if locale in available():
            set_locale(locale)
            preferences.change_language(subscription_id, locale, evidence("/manage"))
        case [("pause", weeks)] if weeks in map(str, preferences.PAUSES):
            preferences.pause(subscription_id, int(weeks), evidence("/manage"))
        case [("take-up", _)]:
            preferences.end_pause(subscription_id, evidence("/manage"))
        case [("data", _)]:
            return "data" if preferences.ask_for_link(settings(), subscription_id) else "later"
        case _:
            raise BadRequest
    return next(iter(fields))


def _ask_to_move(view: SubscriptionView) -> SignUp:
    """Handle the form for another address. Raises TooManyRequests, and 400 and 413."""
    fields = form()

    def ask(address: str, wait: float) -> Answer:
        return address_change.ask_to_move(
            settings(), view.id, address, everywhere="everywhere" in fields, wait_seconds=wait
        )

    return ask_mailbox(view.publisher, fields, ask)


@web.route("/move/<path:token>", methods=["GET", "POST"])
def move(token: str) -> Response:
    """Show a button (GET); change the address (POST, idempotent). Raises InvalidLink."""
    change = address_change.look_up(settings(), token)
    set_locale_of(change.view)
    if request.method == "POST":
        change = address_change.move(settings(), token, evidence("/move"))
    if change.view.erased:
        return render_page("forgotten.html", publisher=change.view.publisher)
    if not change.done and (request.method == "POST" or not change.names):
        return render_page("ended.html", publisher=change.view.publisher)
    manage_token = token_to("unsubscribe", change.view)
    return render_page(
        "move.html",
        publisher=change.view.publisher,
        change=change,
        token=token,
        manage_token=manage_token,
    )
