"""How a page is shown: one template, in one language, with the words of its catalogue."""

from __future__ import annotations

from datetime import datetime

from flask import Response, current_app, make_response, render_template, request
from flask.blueprints import BlueprintSetupState
from jinja2 import StrictUndefined

from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.subscriptions import Standing
from mailer.mail import locales
from mailer.mail.locales import SOURCE, available, best, direction, translations
from mailer.storage.models import Publisher
from mailer.web import web
from mailer.web.stylesheet import stylesheet_url

_LOCALE = "mailer.locale"


def settings() -> Settings:
    """Return the settings of the application that answers."""
    found: Settings = current_app.extensions["settings"]
    return found


def speak(locale: str) -> str:
    """Settle the language of this answer, also for a page that says what went wrong."""
    request.environ[_LOCALE] = locale
    return locale


def spoken() -> str:
    """Return the language of this answer: the settled one, else what the visitor wishes."""
    locale: str | None = request.environ.get(_LOCALE)
    return locale or speak(_wished())


def speak_as(standing: Standing) -> None:
    """Settle the language in which somebody follows a press room."""
    speak(best(standing.locale, standing.publisher.locale))


def publisher_at(slug: str) -> Publisher:
    """Find a press room, and speak its language or the one asked for; raises NotFound."""
    publisher = publishers.find(slug)
    speak(best(request.args.get("locale"), publisher.locale))
    return publisher


def show(template: str, status: int = 200, **context: object) -> Response:
    """Answer with a page of templates/web in the language of this answer."""
    locale = spoken()
    body = render_template(f"web/{template}", locale=locale, **context)
    response = make_response(body, status)
    response.content_language.add(locale.replace("_", "-"))
    return response


def long_date(moment: datetime) -> str:
    """Write a day out in the language of this answer."""
    return locales.long_date(moment, spoken())


def _wished() -> str:
    """Choose from what the browser asks for; a language that nobody has heard of is English."""
    for wish in (request.args.get("locale", ""), *request.accept_languages.values()):
        if wish and (locale := best(wish, "")) != SOURCE:
            return locale
        if wish.lower().startswith(SOURCE):
            break
    return SOURCE


@web.record_once
def _prepare_templates(state: BlueprintSetupState) -> None:
    """Let templates speak every language, and fail on a name that nobody gave them."""
    environment = state.app.jinja_env
    environment.undefined = StrictUndefined
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.policies["ext.i18n.trimmed"] = True
    environment.add_extension("jinja2.ext.i18n")
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        lambda message: translations(spoken()).gettext(message),
        lambda one, many, n: translations(spoken()).ngettext(one, many, n),
        newstyle=True,
    )
    environment.filters["direction"] = direction
    environment.globals["stylesheet_url"] = stylesheet_url
    # A catalogue is read when it is first needed; better now than under the first visitor.
    for locale in available():
        translations(locale)
