"""A client of the API: one press room, its keys, and calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from mailer.app import create_app
from mailer.config import Settings
from mailer.domain import publishers
from mailer.storage.database import db
from tests.domain.press_room import ROOM, SLUG, release

RELEASES = "/api/v1/releases"


@dataclass(frozen=True)
class ApiClient:
    """Speaks to the API with the key of one press room."""

    app: Flask
    key: str

    def call(self, method: str, path: str, key: str | None = "", **options: Any) -> TestResponse:
        """Make one call, with the press room's own key, another, or none (None)."""
        own = {"Authorization": f"Bearer {key or self.key}"} if key is not None else {}
        headers = own | options.pop("headers", {})
        return self.app.test_client().open(path, method=method, headers=headers, **options)

    def publish(self, **changes: Any) -> TestResponse:
        """Publish the release with some fields changed."""
        return self.call("POST", RELEASES, json=release(**changes))

    def send(self, body: bytes, content_type: str = "application/json") -> TestResponse:
        """Publish whatever these bytes are."""
        return self.call("POST", RELEASES, data=body, content_type=content_type)

    def reading_key(self) -> str:
        """Give a key that may only read."""
        with self.app.app_context():
            return publishers.add_key(SLUG, "read")


@contextmanager
def client(environment: Mapping[str, str]) -> Iterator[ApiClient]:
    """Open a press room and a client with its key; an unhandled exception ends the test."""
    app = create_app(Settings.from_environment(environment))
    app.testing = True
    with app.app_context():
        key = publishers.add(ROOM)
    try:
        yield ApiClient(app, key)
    finally:
        with app.app_context():
            db.engine.dispose()


def problem(answer: TestResponse, status: int) -> dict[str, Any]:
    """See that an answer is a problem as RFC 9457 has it, and give it."""
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    told: dict[str, Any] = answer.get_json()
    assert told["status"] == status
    assert told["title"] == HTTPStatus(status).phrase
    assert told["detail"]
    return told
