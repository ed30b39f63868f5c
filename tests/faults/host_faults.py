"""What can happen to a worker's host: it is cut off from something, and plugged in again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy.orm import Session

from mailer.fanout.batches import claim
from mailer.storage.database import begin, db
from tests.faults.host_trial import HostTrial
from tests.faults.trial import LONG, Trial
from tests.processes import eventually
from tests.service import application

_LEASE_SECONDS, _CUT_SECONDS = (30, 90) if LONG else (3, 10)
_PATIENCE_SECONDS = 300
SETTINGS = {"MAILER_LEASE_SECONDS": str(_LEASE_SECONDS)}
INJECTED = f"nothing gets through for {_CUT_SECONDS} s, three leases; a second host sends along"


def cut_off_from_database(trial: Trial) -> None:
    """Leave it the relay, where it could go on sending what is no longer its own."""
    hosts = _on_hosts(trial)
    hosts.at_the_end.enter_context(_claiming(hosts))
    _suffer(hosts, hosts.network.parted(hosts.victim, hosts.database))


def cut_off_from_relay(trial: Trial) -> None:
    """Leave it the database: its leases live, and its messages wait."""
    hosts = _on_hosts(trial)
    _suffer(hosts, hosts.network.parted(hosts.victim, hosts.relay_host))


def cut_off_from_everything(trial: Trial) -> None:
    """Pull its cable."""
    hosts = _on_hosts(trial)
    hosts.at_the_end.enter_context(_claiming(hosts))
    _suffer(hosts, hosts.network.unplugged(hosts.victim))


def _on_hosts(trial: Trial) -> HostTrial:
    assert isinstance(trial, HostTrial), "this fault is for a trial on hosts"
    return trial


@contextmanager
def _claiming(trial: HostTrial) -> Iterator[None]:
    """Stand on the victim in the middle of a claim, with its locks, until the trial is over.

    The server would wait for the end of such a transaction for hours.
    """
    with application(trial.environment), trial.victim.entered():
        connection = db.engine.connect()
        begin(connection)
        assert claim(Session(connection), _LEASE_SECONDS), "a batch was free"
    try:
        yield
    finally:
        # The server has ended it: a farewell in the usual way would hide what the trial found.
        connection.invalidate()
        connection.close()


def _suffer(trial: HostTrial, cut: AbstractContextManager[None]) -> None:
    """Cut it off for a while, and see that it sends again before all is done.

    Whoever is cut off may send what was in hand, and that is all; the other must reach the middle
    of the release before the cut ends.
    """
    with cut:
        sent = _sent_during_cut(trial)
    trial.over()
    assert trial.receipt()["state"] == "sending", "the cut is to end before the release does"
    _until(
        trial,
        lambda: trial.sent_by_victim() > sent or trial.receipt()["state"] == "done",
        "the host sends again",
    )
    assert trial.sent_by_victim() > sent, "the other finished before it came back"


def _sent_during_cut(trial: HostTrial) -> int:
    """Follow a cut to its end, and count what the host had sent until then."""
    _watch(trial, _LEASE_SECONDS)
    when_the_lease_ended = trial.sent_by_victim()
    _watch(trial, _CUT_SECONDS - _LEASE_SECONDS)
    trial.until_accepted(trial.number // 2)
    sent = trial.sent_by_victim()
    assert sent == when_the_lease_ended, "nothing leaves after the lease"
    return sent


def _watch(trial: HostTrial, seconds: float) -> None:
    """Follow the receipt for a while."""
    until = time.monotonic() + seconds
    _until(trial, lambda: time.monotonic() >= until, "the end of the cut")


def _until(trial: HostTrial, condition: Callable[[], object], message: str) -> None:
    """Wait for something; every look checks that the receipt balances."""
    eventually(lambda: trial.receipt() and condition(), message, _PATIENCE_SECONDS)
