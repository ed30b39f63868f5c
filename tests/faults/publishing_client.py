"""The publishing system of a trial: it publishes, and reads receipts, over HTTP."""

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

_PATIENCE_SECONDS = 60
_PARTS = ("accepted", "refused", "skipped", "deferred", "waiting")


class Refused(Exception):
    """The service answered with an error."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def now() -> str:
    """Give this moment as a release has it; the same call again must have the same."""
    return datetime.now(UTC).isoformat()


@dataclass(frozen=True)
class PublishingClient:
    """One press room's key, and where to call."""

    url: str
    key: str

    def publish(
        self, reference: str, headers: Mapping[str, str] | None = None, **fields: object
    ) -> int:
        """Publish one release and give its id; raises Refused, and OSError when nobody answers."""
        body = {
            "reference": reference,
            "language": "nb",
            "title": "Det store forsøket",
            "body_html": "<p>Alle skal ha dette, én gang.</p>",
            "published_at": now(),
            **fields,
        }
        answer = self._call("/api/v1/releases", json.dumps(body).encode(), headers)
        return int(answer["id"])

    def receipt(self, release_id: int) -> dict[str, Any]:
        """Read a receipt, which balances at every moment."""
        receipt: dict[str, Any] = self._ask(f"/api/v1/releases/{release_id}/receipt")
        assert receipt["total"] == sum(receipt[part] for part in _PARTS), receipt
        assert all(receipt[part] >= 0 for part in _PARTS), receipt
        return receipt

    def release(self, release_id: int) -> dict[str, Any]:
        """Read how far a release has come."""
        progress: dict[str, Any] = self._ask(f"/api/v1/releases/{release_id}")
        return progress

    def resume(self, release_id: int) -> None:
        """Let a paused release go on."""
        self._call(f"/api/v1/releases/{release_id}/resume", b"{}")

    def uncertain(self, release_id: int, address: str) -> bool:
        """Ask whether the receipt says of somebody that they may have it twice."""
        query = urllib.parse.urlencode({"address": address})
        return bool(self._ask(f"/api/v1/releases/{release_id}/recipients?{query}")["uncertain"])

    def _ask(self, path: str) -> Any:
        """Read, and come again when the service says so."""

        def answer() -> Any:
            try:
                return self._call(path)
            except Refused as refusal:
                if refusal.status != 503:
                    raise
            except ConnectionError:
                return None  # a worker of the web process has died and is being replaced
            return None

        return eventually(answer, path, patience=_PATIENCE_SECONDS)

    def _call(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        every = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            **(headers or {}),
        }
        request = urllib.request.Request(self.url + path, body, every)
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code) from None
