"""The preferences page of a subscription; the link to it in the letters never expires.

Its token is the one for unsubscribing: it allows what can be undone, and nothing else.
"""

from __future__ import annotations

from flask import Response, request, url_for
from werkzeug.exceptions import BadRequest

from mailer.domain.followers import links, preferences
from mailer.mail.locales import available, own_name
from mailer.web import web
from mailer.web.pages import get_locale, render_page, set_locale, set_locale_of, settings, token_to
from mailer.web.request_checks import evidence, form


@web.route("/manage/<path:token>", methods=["GET", "POST"])
def manage(token: str) -> Response:
    """Show the preferences (GET), change one (POST); both may be repeated. Raises InvalidLink."""
    view = links.opened(settings(), "unsubscribe", token)
    set_locale_of(view)
    if view.erased:
        return render_page("forgotten.html", publisher=view.publisher)
    done = _choose(view.id) if request.method == "POST" else None
    chosen = preferences.look_up(view.id)
    token = token_to("unsubscribe", view)
    if chosen is None:
        return render_page("left.html", publisher=view.publisher, view=view, token=token, done=done)
    others = [
        (url_for("web.manage", token=token_to("unsubscribe", one)), one.publisher.name)
        for one in chosen.others
    ]
    locales = [(locale, own_name(locale)) for locale in available()]
    return render_page(
        "manage.html",
        publisher=view.publisher,
        preferences=chosen,
        done=done,
        token=token,
        others=others,
        language=own_name(get_locale(), in_sentence=True),
        locales=locales,
    )


def _choose(subscription_id: int) -> str:
    """Do the action of the button that was pressed, and return its name; it may be repeated."""
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
            preferences.ask_for_link(settings(), subscription_id)
        case _:
            raise BadRequest
    return next(iter(fields))
