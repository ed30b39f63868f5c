"""A release pauses itself: the operator's command and the press room hear of it, and it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.operator import Operator
from tests.processes import eventually
from tests.relay import Relay
from tests.service import Service
from tests.support.publishing_system import PublishingSystem

FOLLOWERS = [f"leser{number}@example{number % 3}.org" for number in range(6)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which the operator's command keeps what it is told."""
    return tmp_path_factory.mktemp("alerts") / "told.txt"


@pytest.fixture(scope="module")
def own_settings(kept: Path) -> dict[str, str]:
    """Such a command, and short waits."""
    return {"MAILER_ALERT_COMMAND": f"tee -a '{kept}'", "MAILER_RETRY_SECONDS": "1"}


def test_a_relay_that_refuses_everybody_is_heard_of_and_mended(
    service: Service, relay_server: Relay, kept: Path, tmp_path: Path
) -> None:
    relay_server.reset()
    operator = Operator(service.environment, tmp_path)
    office = PublishingSystem(service.url, operator.opens_a_room("oya"))
    operator.does("publisher", "set", "oya", "--notices", "vakt@oya.example")
    file = operator.file("followers.csv", "\n".join(["address", *FOLLOWERS]).encode())
    operator.does("subscriber", "import", "oya", file)

    relay_server.answer(at="rcpt", reply="550 5.7.1 Not from you")
    release_id = office.publish("brygga")["id"]
    eventually(lambda: office.release(release_id)["state"] == "paused", "it pauses")
    eventually(kept.exists, "the command is told")
    relay_server.reset()

    [notice] = relay_server.wait_for(to="vakt@oya.example")
    assert f"mailer release resume {release_id}" in str(notice.get_body(("plain",)))
    office.resume(release_id)
    for address in FOLLOWERS:
        relay_server.wait_for(to=address)
    [told] = kept.read_text().splitlines()
    assert told.startswith(f"Release {release_id} of oya is paused: The mail relay has refused 6")
