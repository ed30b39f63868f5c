"""Rendering of pages, each from one template, in the language of the response."""

from __future__ import annotations

from datetime import datetime

from flask import Response, current_app, make_response, render_template, request
from flask.blueprints import BlueprintSetupState
from jinja2 import StrictUndefined

from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.followers.subscriptions import SubscriptionView
from mailer.domain.tokens import Purpose, Tokens
from mailer.mail.content import PERIODS
from mailer.mail.formats import file_description, mailto, tel
from mailer.mail.locales import (
    SOURCE,
    available,
    best,
    direction,
    long_date,
    long_time,
    translations,
)
from mailer.storage.models import Publisher
from mailer.web import web

_LOCALE = "mailer.locale"
_NEGOTIATED = "mailer.negotiated"
_LOGO = "mailer.logo"


def settings() -> Settings:
    """Return the settings of the current application."""
    found: Settings = current_app.extensions["settings"]
    return found


def set_locale(locale: str) -> str:
    """Set the language of the response, also of an error page, and return it."""
    request.environ[_LOCALE] = locale
    return locale


def get_locale() -> str:
    """Return the language of the response: the one that was set, else the one negotiated."""
    locale: str | None = request.environ.get(_LOCALE)
    return locale or set_locale(negotiate_locale())


def negotiate_locale(default: str = SOURCE) -> str:
    """Return the locale that the URL names, else the best in Accept-Language, else the default."""
    if locale := _known(request.args.get("locale", "")):
        return locale
    request.environ[_NEGOTIATED] = True
    locales = (_known(tag) for tag, quality in request.accept_languages if quality)
    return next(filter(None, locales), default)


def chosen_by_browser() -> bool:
    """Tell whether Accept-Language was used to choose the language of the response."""
    return _NEGOTIATED in request.environ


def set_locale_of(view: SubscriptionView) -> None:
    """Set the language of the response to that of a subscription."""
    set_locale(best(view.locale, view.publisher.locale))


def token_to(purpose: Purpose, view: SubscriptionView) -> str:
    """Return the token of a link to a subscription."""
    return Tokens(settings()).token(purpose, view.id, view.nonce)


def publisher_at(slug: str) -> Publisher:
    """Return a press room, and set the visitor's language, else its own; raises NotFound."""
    publisher = publishers.find(slug)
    set_locale(negotiate_locale(publisher.locale))
    return publisher


def render_page(template: str, status: int = 200, **context: object) -> Response:
    """Render a template of templates/web in the language of the response."""
    locale = get_locale()
    publisher = context.get("publisher")
    request.environ[_LOGO] = isinstance(publisher, Publisher) and publisher.logo_url is not None
    body = render_template(f"web/{template}", locale=locale, **context)
    response = make_response(body, status)
    response.content_language.add(locale.replace("_", "-"))
    return response


def shows_logo() -> bool:
    """Tell whether the page shows the logo of a press room, which is at another host."""
    return bool(request.environ.get(_LOGO))


def _known(tag: str) -> str | None:
    """Return the available locale for a language tag, None if there is none."""
    locale = best(tag, "")
    return locale if locale != SOURCE or tag.lower().startswith(SOURCE) else None


@web.record_once
def _prepare_templates(state: BlueprintSetupState) -> None:
    """Add translations and filters to Jinja, and make an undefined name in a template an error."""
    environment = state.app.jinja_env
    environment.undefined = StrictUndefined
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.policies["ext.i18n.trimmed"] = True
    environment.add_extension("jinja2.ext.i18n")
    # A method that the extension adds while the program runs.
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        lambda message: translations(get_locale()).gettext(message),
        lambda one, many, n: translations(get_locale()).ngettext(one, many, n),
        newstyle=True,
    )
    environment.globals |= PERIODS
    environment.filters["direction"] = direction
    environment.filters["mailto"] = mailto
    environment.filters["tel"] = tel
    environment.filters["file_description"] = lambda document: file_description(
        document, get_locale()
    )
    environment.filters["moment"] = datetime.fromisoformat
    environment.filters["long_date"] = lambda moment: long_date(moment, get_locale())
    environment.filters["long_time"] = lambda moment: long_time(moment, get_locale())
    # Catalogues are read on first use: read them now, so that the first visitor need not wait.
    for locale in available():
        translations(locale)
