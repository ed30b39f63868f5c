"""Error pages for visitors, in their language and without a traceback."""

from __future__ import annotations

import logging
from contextlib import suppress
from http import HTTPStatus

from flask import Response, jsonify, request
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from mailer.domain import publishers
from mailer.domain.followers import links
from mailer.errors import ExpiredLink, InvalidLink, NotFound
from mailer.storage.models import Publisher
from mailer.web import web
from mailer.web.pages import render_page, set_locale_of, token_to

_RETRY_SECONDS = "5"
_A_MINUTE = "60"  # the window of the public limits on sign-ups

log = logging.getLogger(__name__)


@web.errorhandler(NotFound)
def nothing_here(_error: NotFound) -> Response:
    """Answer 404: there is no such press room, release or page."""
    return _page("404", publisher=_press_room())


@web.errorhandler(ExpiredLink)
def expired_link(error: ExpiredLink) -> Response:
    """Answer 410, and show how to get a new link."""
    view = links.look_up(error.subscription_id)
    set_locale_of(view)
    if error.purpose == "access":
        # The data stays closed; the preferences, where every change can be undone, stay open.
        token = token_to("unsubscribe", view)
        return _page("access", HTTPStatus.GONE, publisher=view.publisher, token=token)
    return _page("expired", HTTPStatus.GONE, publisher=view.publisher)


@web.errorhandler(InvalidLink)
def invalid_link(_error: InvalidLink) -> Response:
    """Answer 400 without telling what is wrong with the link."""
    return _page("link", HTTPStatus.BAD_REQUEST)


@web.app_errorhandler(OperationalError)
@web.app_errorhandler(PoolTimeoutError)
def database_away(error: OperationalError | PoolTimeoutError) -> AnyResponse:
    """Answer 503 and ask to retry: a use case is one transaction, so nothing is half done."""
    log.error("The database does not answer: %s.", type(error).__name__)
    status = HTTPStatus.SERVICE_UNAVAILABLE
    response = _problem(status, status.description) if _is_api() else _page("503", status)
    response.headers["Retry-After"] = _RETRY_SECONDS
    return response


@web.app_errorhandler(HTTPException)
def protocol_mistake(error: HTTPException) -> AnyResponse:
    """Answer an HTTP error with a page for visitors; below /api/ with problem+json."""
    if error.response is not None or error.code is None:
        return error.get_response()
    status = HTTPStatus(error.code)
    if _is_api():
        response = _problem(status, error.description or status.description)
    elif status is HTTPStatus.TOO_MANY_REQUESTS:
        typed = request.form.get("address", "")
        response = _page(str(error.code), publisher=_press_room(), typed=typed)
    else:
        response = _page(str(error.code))
    if status is HTTPStatus.TOO_MANY_REQUESTS:
        response.headers["Retry-After"] = _A_MINUTE
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


@web.app_errorhandler(Exception)
def mistake_of_ours(error: Exception) -> AnyResponse:
    """Answer 500, and log the endpoint: Flask would log the path, and with it a token."""
    log.error("A mistake of ours at %s.", request.endpoint, exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return _problem(status, status.description) if _is_api() else _page("500")


def _page(reason: str, status: HTTPStatus | None = None, **context: object) -> Response:
    """Render the error page for a reason: a status code, or a word that error.html knows."""
    context.setdefault("publisher", None)
    response = render_page("error.html", status or int(reason), reason=reason, **context)
    response.headers["Cache-Control"] = "no-store"
    return response


def _press_room() -> Publisher | None:
    """Return the press room that the URL names, if there is one."""
    slug = (request.view_args or {}).get("slug")
    # Whatever is wrong, a page that says so has to be shown.
    with suppress(Exception):
        return publishers.find(slug) if slug else None
    return None


def _is_api() -> bool:
    return request.path.startswith("/api/")


def _problem(status: HTTPStatus, detail: str) -> Response:
    response = jsonify(type="about:blank", title=status.phrase, status=status, detail=detail)
    response.status_code = status
    response.mimetype = "application/problem+json"
    return response
