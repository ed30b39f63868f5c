"""A publishing system that calls the API of a running service over HTTP with one API key."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.processes import eventually

RELEASES = "/api/v1/releases"
_PARTS = ("accepted", "refused", "skipped", "deferred", "waiting")


class Refused(Exception):
    """The service answered with an error."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def this_moment() -> str:
    """Return the current time as a release has it; the same call again must have the same."""
    return datetime.now(UTC).isoformat()


@dataclass(frozen=True)
class PublishingSystem:
    """One press room's key, and where to call."""

    url: str
    key: str
    timeout_seconds: float = 60

    def publish(
        self, reference: str, headers: Mapping[str, str] | None = None, **fields: object
    ) -> dict[str, Any]:
        """Publish a small release; returns the answer.

        Raises Refused for an error, and OSError if the service cannot be reached.
        """
        body = {
            "reference": reference,
            "language": "nb",
            "title": "Brygga er åpen igjen",
            "body_html": "<p>ØYA — Nå kan alle gå på brygga.</p>",
            "published_at": this_moment(),
            "again": True,
            **fields,
        }
        return self.call(RELEASES, body, headers)

    def release(self, release_id: int) -> dict[str, Any]:
        """Read how far a release has come."""
        return self.read(f"{RELEASES}/{release_id}")

    def receipt(self, release_id: int) -> dict[str, Any]:
        """Read a receipt, which balances at every moment."""
        receipt = self.read(f"{RELEASES}/{release_id}/receipt")
        assert receipt["total"] == sum(receipt[part] for part in _PARTS), receipt
        assert all(receipt[part] >= 0 for part in _PARTS), receipt
        return receipt

    def recipient(self, release_id: int, address: str) -> dict[str, Any]:
        """Read what became of one recipient."""
        query = urllib.parse.urlencode({"address": address})
        return self.read(f"{RELEASES}/{release_id}/recipients?{query}")

    def resume(self, release_id: int) -> None:
        """Resume a release."""
        self.call(f"{RELEASES}/{release_id}/resume", {})

    def stop(self, release_id: int) -> None:
        """Stop a release."""
        self.call(f"{RELEASES}/{release_id}/stop", {})

    def done(self, answer: Mapping[str, Any], patience: float | None = None) -> dict[str, Any]:
        """Wait until a release is done; returns its receipt."""
        release_id = answer["id"]
        eventually(lambda: self.release(release_id)["state"] == "done", "done", patience)
        return self.receipt(release_id)

    def read(self, path: str) -> dict[str, Any]:
        """Get a path; call again where the service asks for that, or is being restarted."""

        def answer() -> dict[str, Any] | None:
            try:
                return self.call(path)
            except Refused as refusal:
                if refusal.status != 503:
                    raise
            except ConnectionError:
                return None  # a worker of the web process has died and is being replaced
            return None

        found = eventually(answer, path, patience=self.timeout_seconds)
        assert found is not None
        return found

    def call(
        self, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Post a body to a path, or get the path if there is none."""
        every = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            **(headers or {}),
        }
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, every)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_seconds) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code) from None
