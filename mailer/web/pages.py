"""How a page is shown: one template, in one language, with the words of its catalogue."""

from __future__ import annotations

from flask import Response, current_app, make_response, render_template, request
from flask.blueprints import BlueprintSetupState
from jinja2 import StrictUndefined

from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.followers.subscriptions import SubscriptionView
from mailer.domain.releases.press_rooms import published
from mailer.mail.formats import described, mailto, tel
from mailer.mail.locales import SOURCE, available, best, direction, long_date, translations
from mailer.storage.models import Publisher
from mailer.web import web

_LOCALE = "mailer.locale"
_ASKED = "mailer.asked"


def settings() -> Settings:
    """Return the settings of the application that answers."""
    found: Settings = current_app.extensions["settings"]
    return found


def set_locale(locale: str) -> str:
    """Settle the language of this answer, also for a page that says what went wrong."""
    request.environ[_LOCALE] = locale
    return locale


def get_locale() -> str:
    """Return the language of this answer: the settled one, else what the visitor wishes."""
    locale: str | None = request.environ.get(_LOCALE)
    return locale or set_locale(negotiate_locale())


def negotiate_locale(default: str = SOURCE) -> str:
    """Choose the language that the address names, else one that the browser asks for."""
    if locale := _known(request.args.get("locale", "")):
        return locale
    request.environ[_ASKED] = True
    wishes = (_known(wish) for wish, quality in request.accept_languages if quality)
    return next(filter(None, wishes), default)


def chosen_by_browser() -> bool:
    """Tell whether another browser might have been answered in another language."""
    return _ASKED in request.environ


def set_locale_of(view: SubscriptionView) -> None:
    """Settle the language in which somebody follows a press room."""
    set_locale(best(view.locale, view.publisher.locale))


def publisher_at(slug: str) -> Publisher:
    """Find a press room, and speak the visitor's language, or else its own; raises NotFound."""
    publisher = publishers.find(slug)
    set_locale(negotiate_locale(publisher.locale))
    return publisher


def render_page(template: str, status: int = 200, **context: object) -> Response:
    """Answer with a page of templates/web in the language of this answer."""
    locale = get_locale()
    body = render_template(f"web/{template}", locale=locale, **context)
    response = make_response(body, status)
    response.content_language.add(locale.replace("_", "-"))
    return response


def _known(wish: str) -> str | None:
    """Return the locale that a wish names; one that nobody has heard of is none."""
    locale = best(wish, "")
    return locale if locale != SOURCE or wish.lower().startswith(SOURCE) else None


@web.record_once
def _prepare_templates(state: BlueprintSetupState) -> None:
    """Let templates speak every language, and fail on a name that nobody gave them."""
    environment = state.app.jinja_env
    environment.undefined = StrictUndefined
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.policies["ext.i18n.trimmed"] = True
    environment.add_extension("jinja2.ext.i18n")
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        lambda message: translations(get_locale()).gettext(message),
        lambda one, many, n: translations(get_locale()).ngettext(one, many, n),
        newstyle=True,
    )
    environment.filters["direction"] = direction
    environment.filters["mailto"] = mailto
    environment.filters["tel"] = tel
    environment.filters["described"] = lambda document: described(document, get_locale())
    environment.filters["long_date"] = lambda moment: long_date(moment, get_locale())
    environment.filters["published"] = published
    # A catalogue is read when it is first needed; better now than under the first visitor.
    for locale in available():
        translations(locale)
