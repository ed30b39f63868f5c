"""People leave by one click while a release goes out slowly: who gets a message afterwards."""

from __future__ import annotations

import random
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import replace

from tests.relays.trial import Measured, RelayTrial

LEAVERS = 200
_LOOKED_UP_SECONDS = 5.0
"""How old a look-up may be when the content of a message begins."""
_SECOND = 1.0
"""From the beginning of the content to its dot."""
_FROZEN_SECONDS = 60.0


def leave_at_two_a_second(trial: RelayTrial) -> Measured:
    """Let people leave while two messages a second leave."""
    measured, _ = _leave(trial, lambda: trial.restart_workers(MAILER_MESSAGES_A_SECOND="2"))
    return measured


def leave_while_each_dot_waits(trial: RelayTrial) -> Measured:
    """Let people leave while the relay takes 20 seconds over every message."""
    measured, left = _leave(trial, lambda: trial.relay.order("DELAY 20"))
    used, most = len({one.connection for one in trial.arrived()}), trial.most_open()
    given_up = len(left & _named_in_vain(trial))
    assert used <= most + given_up, f"{used} connections used, {most} open, {given_up} given up"
    return replace(measured, remark=f"{measured.remark}; {given_up} connections given up for it")


def _named_in_vain(trial: RelayTrial) -> set[str]:
    """Give whom the relay was named and sent nothing: only closing the connection takes it back."""
    answers = [one for one in trial.relay.named() if one.at > trial.began]
    named = {one.address for one in answers if one.stage == "rcpt"}
    return named - {one.recipient for one in trial.arrived()}


def leave_and_freeze_the_database(trial: RelayTrial) -> Measured:
    """Let people leave, and freeze the database then for a minute, in the middle of messages."""
    postgresql = trial.parts.postgresql
    assert postgresql is not None

    def freeze() -> None:
        with postgresql.frozen():
            time.sleep(_FROZEN_SECONDS)

    measured, _ = _leave(trial, lambda: trial.relay.order("DELAY 0.2"), freeze)
    return measured


def _leave(
    trial: RelayTrial, slow_down: Callable[[], None], afterwards: Callable[[], None] | None = None
) -> tuple[Measured, set[str]]:
    """Take the links from a first letter; leave while the second one goes out. Gives who left."""
    trial.publish()
    trial.until_done()
    links = {one.recipient: one.one_click for one in trial.arrived()}
    slow_down()
    trial.publish()
    left: dict[str, float] = {}
    for one in random.Random(1).sample(sorted(trial.people), LEAVERS):
        if one not in {entry.recipient for entry in trial.arrived()}:
            _click(links[one])
            left[one] = time.time()
    if afterwards is not None:
        afterwards()
    time.sleep(trial.row.watched)
    late = [one.at - left[one.recipient] for one in trial.arrived() if one.recipient in left]
    assert max(late, default=0.0) <= _LOOKED_UP_SECONDS + _SECOND, sorted(late)[-20:]
    late = [seconds for seconds in late if seconds > 0]
    latest = f", the latest {max(late):.1f} s later" if late else ""
    remark = f"{len(left)} left, and {len(late)} of them were sent to afterwards{latest}"
    return Measured(time.time() - trial.began, remark=remark), set(left)


def _click(link: str) -> None:
    body = urllib.parse.urlencode({"List-Unsubscribe": "One-Click"}).encode()
    with urllib.request.urlopen(link, body, timeout=60) as answer:
        assert answer.status == 200
