"""What can happen to the relay, and to whoever leaves while mail goes out."""

from __future__ import annotations

import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.trial import Trial
from tests.processes import eventually

SHARE_LOST = 0.01
SILENCE_TIMEOUT = {"MAILER_SMTP_TIMEOUT_SECONDS": "2"}
_BUSY_SECONDS = 2.0
_SILENT_SECONDS = 4.0
_LEAVERS = 20
_LOOK_AGAIN = 50


@contextmanager
def forgetful(trial: Trial) -> Iterator[None]:
    """Let the relay take every message, and lose the answer to one in a hundred."""
    trial.relay.order(f"forgetful {SHARE_LOST}")
    yield


def count_lost_answers(trial: Trial) -> None:
    """Take every lost answer for one injection."""
    trial.story.strikes = sum(entry.lost for entry in trial.relay.entries())


def kill_relay(trial: Trial) -> None:
    """Kill the relay in the middle of whatever it takes, and start it again on its port."""
    trial.relay.kill()
    trial.relay.start()


def overload_relay(trial: Trial) -> None:
    """Let the relay say 421 and 452 for a while; nobody is blamed."""
    trial.relay.order("busy")
    trial.last(_BUSY_SECONDS)
    trial.relay.order("well")


def nobody_is_blamed(trial: Trial) -> None:
    """See that no recipient has an outcome but acceptance."""
    receipt = trial.receipt()
    assert receipt["accepted"] == receipt["total"], receipt
    assert not set(receipt["reasons"]) - {"uncertain"}, receipt


def publish_with_wrong_password(trial: Trial) -> None:
    """Publish while the relay knows no password of ours; mend that, and nobody has to resume."""
    trial.relay.kill()
    trial.relay.start()
    trial.relay.order("stranger")
    taken = trial.relay.taken()
    trial.publish()
    eventually(lambda: "password" in (trial.receipt()["because"] or ""), "it says why it waits")
    assert trial.receipt()["state"] == "sending"
    assert trial.relay.taken() == taken
    trial.relay.order("well")
    trial.story.strikes += 1


def silence_relay(trial: Trial) -> None:
    """Let the relay stop answering for longer than we wait for it, and then take everything."""
    trial.relay.freeze()
    trial.last(_SILENT_SECONDS)
    trial.relay.thaw()


def publish_and_leave(trial: Trial) -> None:
    """Let people leave by one click, found in an earlier letter, while the next goes out."""
    trial.publish()
    trial.until_done()
    before = trial.relay.entries()
    links = {one.recipient: one.one_click for one in before}
    trial.publish()
    trial.until_accepted(trial.number // 10)
    waiting = trial.people - {one.recipient for one in trial.relay.entries()[len(before) :]}
    for one in trial.chance.sample(sorted(waiting), _LEAVERS):
        _click(links[one])
        trial.story.left[one] = time.time()
        trial.story.strikes += 1


def nobody_hears_much_later(trial: Trial) -> None:
    """See how many more each connection carried before whoever had left by then was left out."""
    entries = trial.relay.entries()
    for entry in entries:
        left = trial.story.left.get(entry.recipient, entry.at)
        if entry.at > left:
            between = [
                one
                for one in entries
                if one.connection == entry.connection and left < one.at <= entry.at
            ]
            trial.story.figures["messages after leaving"].append(len(between))
            assert len(between) <= _LOOK_AGAIN
    assert trial.receipt()["reasons"]["skipped"]["left"] > 0


def _click(link: str) -> None:
    body = urllib.parse.urlencode({"List-Unsubscribe": "One-Click"}).encode()
    with urllib.request.urlopen(link, body, timeout=60) as answer:
        assert answer.status == 200
