"""What a refusal of the API looks like."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from werkzeug.test import TestResponse


def problem(answer: TestResponse, status: int) -> dict[str, Any]:
    """See that an answer is a problem as RFC 9457 has it, and give it."""
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    told: dict[str, Any] = answer.get_json()
    assert told["status"] == status
    assert told["title"] == HTTPStatus(status).phrase
    assert told["detail"]
    return told
