"""The switch between languages, and how a chosen one goes along from page to page."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import request, url_for
from flask.blueprints import BlueprintSetupState

from mailer.mail.locales import available, own_name
from mailer.web import web
from mailer.web.headers import carries_token, framed
from mailer.web.pages import get_locale, settings

_GO_ALONG = {
    f"web.{view}" for view in ("press_room", "release", "privacy", "embed", "embed_code", "feed")
}


class Language(NamedTuple):
    """A language to choose: its name in itself, and the address of the same page in it."""

    locale: str
    name: str
    url: str


def languages() -> list[Language]:
    """List what a page can be read in; behind a token it is the reader's own language."""
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
    """Return the one full address of a page, whatever language it is read in."""
    return settings().base_url + url_for(endpoint, **{"locale": None, **values})


@web.app_url_defaults
def _go_along(endpoint: str, values: dict[str, Any]) -> None:
    """Whoever chose a language has chosen it for the next page, too."""
    if endpoint in _GO_ALONG and "locale" in request.args:
        values.setdefault("locale", get_locale())


@web.record_once
def _lend(state: BlueprintSetupState) -> None:
    """Let every template offer the languages, and name a page by its full address."""
    state.app.jinja_env.globals.update(languages=languages, address=address, framed=framed)
