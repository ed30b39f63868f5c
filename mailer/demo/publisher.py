"""The publisher: its commands of `mailer`, and its publishing system that calls the API."""

from __future__ import annotations

import json
from typing import Any

from mailer.demo import samples
from mailer.demo.console_output import StepFailed
from mailer.demo.http_client import request
from mailer.demo.services import Services

_RECEIPT = ("total", "accepted", "refused", "skipped", "deferred", "waiting")


class Publisher:
    """The museum: it opens a press room, imports followers and publishes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.room_url = f"{services.web_url}/{samples.SLUG}/"
        self.api_key = ""
        self._release_url = ""

    def open_press_room(self) -> str:
        """Add the publisher, and keep its API key; return where the press room is."""
        website = f"{self._services.pages_url}/site/"
        options = ["--from", samples.FROM, "--locale", "nb", "--website", website, "--json"]
        command = ["publisher", "add", samples.SLUG, "--name", samples.NAME, *options]
        self.api_key = json.loads(self._services.command(*command))["api_key"]
        return self.room_url

    def import_followers(self) -> str:
        """Import the confirmed followers of a file."""
        command = ["subscriber", "import", samples.SLUG, str(samples.FOLLOWERS)]
        printed = self._services.command(*command)
        if not printed.startswith("2 added"):
            raise StepFailed(f"`mailer subscriber import` printed: {printed}")
        return ""

    def publish_twice(self, release: samples.Release) -> str:
        """Make the same call twice, which must be one release; return where its state is."""
        api_url = f"{self._services.web_url}/api/v1/releases"
        first, second = (self._call(api_url, release)["links"]["self"] for _ in range(2))
        if first != second:
            raise StepFailed(f"The same call again made another release: {second}")
        self._release_url = f"{self._services.web_url}{first}"
        return self._release_url

    def is_done(self) -> bool:
        """Tell whether the release has been sent to every follower."""
        return bool(self._call(self._release_url)["state"] == "done")

    def check_receipt(self, total: int) -> str:
        """Raise StepFailed unless the receipt says that all followers were accepted."""
        url = f"{self._release_url}/receipt"
        receipt = self._call(url)
        if [receipt[name] for name in _RECEIPT] != [total, total, 0, 0, 0, 0]:
            raise StepFailed(f"For {total} followers, the receipt says: {receipt}")
        return url

    def _call(self, url: str, release: samples.Release | None = None) -> Any:
        """Call the API, with a release to publish or without one, and return its answer."""
        data = json.dumps(release).encode() if release else None
        headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
        return json.loads(request(url, data, headers))
