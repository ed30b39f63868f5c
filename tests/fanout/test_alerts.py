"""Alerts: the operator's command hears once of each cause, in one sentence without a secret."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.followers import subscriptions
from mailer.domain.followers.subscriptions import Evidence
from mailer.domain.releases import lifecycle
from mailer.errors import Misconfigured
from mailer.fanout.answers.pauses import RELAY_REFUSES
from mailer.fanout.delivery.outbox import drain_outbox
from mailer.storage.database import transaction
from tests.fanout.press_room import FOLLOWERS, SendingRoom, together
from tests.fanout.worker_process import listening
from tests.servers import Redis
from tests.service import Service, contract
from tests.support.press_room import SLUG

PROOF = Evidence(language="nb", page="test", network=None)
Told = Callable[[], list[str]]

pytestmark = pytest.mark.processes


@pytest.fixture
def told(room: SendingRoom, tmp_path: Path) -> Told:
    """Set a command that keeps what it is told, and return what reads that."""
    kept, script = tmp_path / "told by alerts.txt", tmp_path / "tell me.sh"
    script.write_text('#!/bin/sh\ntest -z "$SECRET_KEYS" && cat >> "$1"\n')
    script.chmod(0o755)
    room.adjust(alert_command=f"'{script}' '{kept}'")
    return lambda: kept.read_text().splitlines() if kept.exists() else []


def refuse_everybody(room: SendingRoom) -> int:
    """Publish a release that pauses itself, since the relay refuses every recipient."""
    for address in FOLLOWERS:
        room.relay.answer(address, at="rcpt", reply="550 5.7.1 Skuta stays out")
    release_id = room.publish(title="Hemmelig båt")
    room.drain()
    return release_id


def test_a_release_that_pauses_itself_is_told_once(
    room: SendingRoom, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEYS", "of no concern to the command")
    release_id = refuse_everybody(room)
    for _ in range(3):
        room.sweep()
    because = room.release(release_id).paused_because
    assert told() == [f"Release {release_id} of {SLUG} is paused: {because}"]
    room.resume(release_id)
    room.sweep()
    room.pause(release_id)
    room.sweep()
    assert told()[1:] == [f"Release {release_id} of {SLUG} is paused: A test pauses it."]


def test_two_sweeps_at_once_tell_once(room: SendingRoom, told: Told) -> None:
    refuse_everybody(room)
    together(room.sweep, room.sweep, room.sweep)
    assert len(told()) == 1


def test_many_paused_releases_are_told_in_turn(room: SendingRoom, told: Told) -> None:
    for _ in range(7):
        room.pause(room.publish())
    room.sweep()
    assert len(told()) == 5
    room.sweep()
    room.sweep()
    assert len(set(told())) == len(told()) == 7


def test_everything_paused_is_one_cause(room: SendingRoom, told: Told) -> None:
    for release_id in (room.publish(), room.publish()):
        with transaction() as session:
            lifecycle.pause(session, release_id, RELAY_REFUSES)
    room.sweep()
    room.sweep()
    assert told() == [f"Everything that was sending is paused: {RELAY_REFUSES}"]


def test_everything_paused_once_more_is_told_though_one_is_paused_still(
    room: SendingRoom, told: Told
) -> None:
    def pause_everything(*release_ids: int) -> None:
        for release_id in release_ids:
            with transaction() as session:
                lifecycle.pause(session, release_id, RELAY_REFUSES)
        room.sweep()

    one, another = room.publish(), room.publish()
    pause_everything(one)
    pause_everything(another)
    room.resume(another)
    pause_everything(another)
    assert told() == 3 * [f"Everything that was sending is paused: {RELAY_REFUSES}"]


def test_what_a_person_does_is_not_told(room: SendingRoom, told: Told) -> None:
    room.stop(room.publish())
    room.sweep()
    assert told() == []


def test_a_letter_that_is_late_by_an_hour_is_told_until_none_is(
    room: SendingRoom, told: Told
) -> None:
    def ask(address: str) -> None:
        subscriptions.sign_up(room.settings, publishers.find(SLUG), address, PROOF)

    ask("fri@example.org")
    room.sweep()
    assert told() == []
    room.later(minutes=61)
    room.sweep()
    ask("gro@example.org")
    room.later(minutes=61)
    room.sweep()
    assert told() == [
        "Letters to single subscribers, such as confirmations, are overdue by an hour."
    ]
    asyncio.run(drain_outbox(room.settings, asyncio.Event()))
    room.sweep()
    ask("kim@example.org")
    room.later(minutes=61)
    room.sweep()
    assert len(told()) == 2


def test_a_queue_that_nobody_serves_is_told_after_a_minute(
    starts: tuple[SendingRoom, Service], redis: Redis, tmp_path: Path
) -> None:
    room, service = starts
    kept = tmp_path / "told.txt"
    room.adjust(alert_command=f"tee -a {kept}")
    room.publish()
    room.sweep()
    room.later(seconds=59)
    room.sweep()
    assert not kept.exists()
    room.later(seconds=2)
    room.sweep()
    room.sweep()
    sentence = "Something waits to be sent, but no worker serves releases.\n"
    assert kept.read_text() == sentence
    service.start("releases")
    listening(redis)
    room.sweep()
    room.later(minutes=3)
    room.sweep()
    assert kept.read_text() == sentence


@pytest.mark.parametrize("command", ["/not/there", "false", "sleep 60"])
def test_a_command_that_fails_is_logged_and_stops_nothing(
    room: SendingRoom,
    command: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mailer.fanout.alerts._TIMEOUT_SECONDS", 0.1)
    room.adjust(alert_command=command)
    refuse_everybody(room)
    room.sweep()
    room.sweep()
    said = [one for one in caplog.messages if one.startswith("The alert command failed")]
    assert len(said) == 1


def test_a_command_that_cannot_be_read_is_a_mistake() -> None:
    variables = contract(database_url="sqlite:///x", redis_url="", smtp_url="smtp://127.0.0.1")
    for command in ("say 'it", " ", "'"):
        with pytest.raises(Misconfigured, match="MAILER_ALERT_COMMAND"):
            Settings.from_environment(variables | {"MAILER_ALERT_COMMAND": command})


def test_the_log_names_each_change_of_a_release_and_no_title(
    room: SendingRoom, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mailer")
    one = room.publish(title="Hemmelig båt")
    room.pause(one)
    room.resume(one)
    room.drain()
    two = room.publish(hold_minutes=5)
    room.stop(two)
    said = [record.message for record in caplog.records if record.message.startswith("Release")]
    assert said == [
        f"Release {one} is paused: A test pauses it.",
        f"Release {one} is resumed.",
        f"Release {one} is sending, to 5 recipients.",
        f"Release {one} is done.",
        f"Release {two} is stopped.",
    ]
    assert not [text for text in caplog.messages if "Hemmelig" in text or "@" in text]
