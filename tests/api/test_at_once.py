"""Many calls at the same moment, through the real web process: one release, one answer."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.processes import PATIENCE_SECONDS
from tests.service import Service, complete
from tests.support.press_room import DRAFT, SLUG
from tests.support.publishing_system import RELEASES
from tests.support.releases import release

AT_ONCE = 50


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service_database(request: pytest.FixtureRequest) -> str:
    """Both kinds: their constraints and locks decide who is first."""
    return str(request.param)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


@dataclass(frozen=True)
class System:
    """A publishing system that calls over the network."""

    url: str
    key: str

    def call(self, content: dict[str, object]) -> Answer:
        """Publish a release."""
        request = urllib.request.Request(
            f"{self.url}{RELEASES}",
            data=json.dumps(content).encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return Answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read())

    def call_at_once(self, contents: list[dict[str, object]]) -> list[Answer]:
        """Publish all of these at the same moment."""
        together = threading.Barrier(len(contents))

        def call(content: dict[str, object]) -> Answer:
            together.wait()
            return self.call(content)

        with ThreadPoolExecutor(len(contents)) as callers:
            return list(callers.map(call, contents))


@pytest.fixture(scope="module")
def system(service: Service) -> System:
    """Open a press room in the running service, as an operator does."""
    command = [sys.executable, "-m", "mailer", "publisher", "add", SLUG, "--json"]
    opened = subprocess.run(
        [*command, "--name", DRAFT.name, "--from", DRAFT.from_address],
        env=complete(service.environment),
        capture_output=True,
        check=True,
    )
    return System(service.url, json.loads(opened.stdout)["api_key"])


def test_fifty_identical_calls_are_one_release_and_one_answer(system: System) -> None:
    answers = system.call_at_once([release(reference="samtidig")] * AT_ONCE)
    assert Counter(answers) == {answers[0]: AT_ONCE}
    assert answers[0].status == 202


def test_of_fifty_contents_for_one_reference_one_is_published(system: System) -> None:
    contents = [release(reference="kapp", title=f"Nyhet {number}") for number in range(AT_ONCE)]
    answers = system.call_at_once(contents)
    assert Counter(answer.status for answer in answers) == {202: 1, 409: AT_ONCE - 1}
    [winner] = [json.loads(answer.body)["id"] for answer in answers if answer.status == 202]
    losers = {json.loads(answer.body)["release"] for answer in answers if answer.status == 409}
    assert losers == {winner}


def test_the_content_that_won_goes_on_being_accepted(system: System) -> None:
    contents = [release(reference="igjen", title=f"Nyhet {number}") for number in range(5)]
    first = system.call_at_once(contents)
    again = [system.call(content) for content in contents]
    assert again == first
