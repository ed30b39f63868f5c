"""The errors of the API, as application/problem+json (RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Response, jsonify
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from mailer.api import api
from mailer.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    MailerError,
    NotFound,
    ReleaseConflict,
    Unauthorized,
)

log = logging.getLogger(__name__)

_STATUS: dict[type[MailerError], HTTPStatus] = {
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    Busy: HTTPStatus.SERVICE_UNAVAILABLE,
}


@api.errorhandler(MailerError)
def mistake(error: MailerError) -> Response:
    """Answer with the status for an error of mailer.errors, and name the invalid fields."""
    status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
    extra: dict[str, object] = {}
    if isinstance(error, InvalidInput):
        extra["errors"] = [
            {"field": field, "detail": sentence} for field, sentence in error.problems.items()
        ]
    if isinstance(error, ReleaseConflict):
        extra["release"] = error.release_id
    return _problem(status, str(error), extra)


@api.errorhandler(HTTPException)
def protocol_mistake(error: HTTPException) -> Response:
    """Answer an HTTP error as problem+json, as all other errors of the API."""
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    return _problem(status, error.description or status.description, {})


@api.errorhandler(OperationalError)
def database_away(error: OperationalError) -> Response:
    """Answer 503 and ask the caller to retry; a publish call is safe to repeat."""
    log.error("The database does not answer: %s.", type(error.orig).__name__)
    return _problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "Nothing was saved. Send the same again in a moment.", {}
    )


def _problem(status: HTTPStatus, detail: str, extra: dict[str, object]) -> Response:
    response = jsonify(
        type="about:blank", title=status.phrase, status=status.value, detail=detail, **extra
    )
    response.status_code = status.value
    response.mimetype = "application/problem+json"
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "5"
    if status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="mailer"'
    return response
