"""The press room's side: its commands, and its publishing system that calls the API."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from urllib.parse import urljoin

from mailer.demo import samples
from mailer.demo.browser import Answer, Browser
from mailer.demo.parts import Parts
from mailer.demo.people import Follower
from mailer.demo.telling import StepFailed

_COMMAND_SECONDS = 60
_DONE_WITHIN_SECONDS = 60
_ASKED_EVERY_SECONDS = 0.1


class Office:
    """Opens the press room, brings followers along and publishes, with the key it is given."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._browser = Browser()
        self.api_key = ""

    def open_room(self) -> None:
        """Open the press room, and keep its API key."""
        options = ["--name", samples.NAME, "--from", samples.FROM, "--locale", "nb", "--json"]
        website = f"{self._parts.page.site_url}/"
        said = self._command("publisher", "add", samples.SLUG, *options, "--website", website)
        try:
            self.api_key = json.loads(said)["api_key"]
        except (ValueError, LookupError, TypeError):
            raise StepFailed(f"`mailer publisher add` gave no API key: {said}") from None

    def bring_along(self, followers: list[Follower]) -> None:
        """Import confirmed followers from a file."""
        file = self._parts.folder / "followers.csv"
        with file.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(("address", "confirmed_at", "locale"))
            now = datetime.now(UTC).isoformat()
            writer.writerows((one.address, now, one.locale) for one in followers)
        said = self._command("subscriber", "import", samples.SLUG, str(file))
        if not said.startswith(f"{len(followers)} added"):
            raise StepFailed(f"`mailer subscriber import` of {len(followers)} said: {said}")

    def publish(self, release: samples.Release) -> Answer:
        """Send a release to the API; raises StepFailed if it is not taken."""
        body = json.dumps(release, ensure_ascii=False).encode()
        url = f"{self._parts.web_url}/api/v1/releases"
        headers = {**self._authority(), "Content-Type": "application/json"}
        return self._browser.send("POST", url, body, headers).expect(202, "The publish call")

    def ask(self, url: str) -> Answer:
        """Ask the API something; raises StepFailed if it does not answer with 200."""
        return self._browser.get(url, self._authority()).expect(200, "The API")

    def link(self, answer: Answer, name: str) -> str:
        """Return a link that an answer gives."""
        return urljoin(answer.url, str(answer.json("links", name)))

    def await_done(self, url: str) -> None:
        """Ask until the release is done; raises StepFailed if that takes too long."""
        deadline = time.monotonic() + _DONE_WITHIN_SECONDS
        while (state := self.ask(url).json("state")) != "done":
            if time.monotonic() > deadline:
                raise StepFailed(f"{url} is still {state} after {_DONE_WITHIN_SECONDS} s.")
            # As a publishing system would: the API calls nobody back.
            time.sleep(_ASKED_EVERY_SECONDS)

    def _authority(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}

    def _command(self, *words: str) -> str:
        """Run a command of ours as an operator does, and return what it printed."""
        command = f"`mailer {' '.join(words[:2])}`"
        try:
            done = subprocess.run(  # noqa: S603 - our own command
                [sys.executable, "-m", "mailer", *words],
                env=self._parts.environment | {"PYTHONIOENCODING": "utf-8"},
                capture_output=True,
                encoding="utf-8",
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StepFailed(f"{command} did not end within {_COMMAND_SECONDS} s.") from None
        if done.returncode:
            raise StepFailed(f"{command} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()
