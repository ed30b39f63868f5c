"""The links to a page in other languages; later links keep the language that was chosen."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import request, url_for
from flask.blueprints import BlueprintSetupState

from mailer.mail.locales import available, own_name
from mailer.web import web
from mailer.web.headers import carries_token, framed
from mailer.web.pages import get_locale, settings

_LOCALE_ENDPOINTS = {
    f"web.{view}" for view in ("press_room", "release", "privacy", "embed", "embed_code", "feed")
}


class Language(NamedTuple):
    """A language to choose: its name in that language, and the URL of the same page in it."""

    locale: str
    name: str
    url: str


def languages() -> list[Language]:
    """List the languages of this page; none behind a token: the subscription's language is used."""
    if carries_token():
        return []
    page = {"page": request.args["page"]} if "page" in request.args else {}
    return [
        Language(
            locale,
            own_name(locale),
            "?" + urlencode({**page, "locale": locale}),
        )
        for locale in available()
    ]


def address(endpoint: str, **values: Any) -> str:
    """Return the absolute URL of a page; the same in every language unless `locale` is given."""
    return settings().base_url + url_for(endpoint, **{"locale": None, **values})


@web.app_url_defaults
def _keep_locale(endpoint: str, values: dict[str, Any]) -> None:
    """Add the locale to links between public pages if the visitor has chosen one."""
    if endpoint in _LOCALE_ENDPOINTS and "locale" in request.args:
        values.setdefault("locale", get_locale())


@web.record_once
def _prepare_templates(state: BlueprintSetupState) -> None:
    """Give all templates the functions `languages`, `address` and `framed`."""
    state.app.jinja_env.globals.update(languages=languages, address=address, framed=framed)
