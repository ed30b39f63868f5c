"""What is done in a trial once the relay may misbehave: published, mended, resumed, stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.processes import eventually
from tests.relays.trial import Measured, RelayTrial
from tests.support.misbehaviour import Rule

_SHARE_SENT = 10
_FIRST_SECONDS = 60
"""In which a throttle is found."""


def misbehave_throughout(trial: RelayTrial) -> Measured:
    """Publish while the relay misbehaves, and wait for everybody whom it takes."""
    trial.misbehave()
    trial.publish()
    return trial.measure()


def misbehave_from_a_moment_on(trial: RelayTrial) -> Measured:
    """Let everything be refused from some moment, until it pauses; mend it, and resume."""
    trial.publish()
    trial.until_accepted(trial.number // _SHARE_SENT)
    return _halt_and_mend(trial, time.time())


def refuse_from_the_start(trial: RelayTrial) -> Measured:
    """Publish while nothing is taken, until it pauses; mend it, and resume."""
    began = time.time()
    return _halt_and_mend(trial, began, publish=True)


def stop_while_all_is_refused(trial: RelayTrial) -> Measured:
    """Let everything be refused from some moment, and stop the release then."""
    trial.publish()
    trial.until_accepted(trial.number // _SHARE_SENT)
    trial.misbehave()
    return _stop(trial)


def stop_while_all_is_well(trial: RelayTrial) -> Measured:
    """Stop the release in the middle."""
    trial.publish()
    trial.until_accepted(trial.number // _SHARE_SENT)
    return _stop(trial)


def keep_silent(trial: RelayTrial) -> Measured:
    """Publish while the relay says nothing to some, and count its connections."""
    measured = misbehave_throughout(trial)
    most = trial.most_open()
    assert most <= trial.row.most_connections, f"{most} connections were open"
    return replace(measured, remark=f"{most} connections at most")


def throttle(trial: RelayTrial) -> Measured:
    """Publish while the relay throttles, and watch it for some minutes."""
    return _watch(trial, trial.row.takes * (trial.row.watched - _FIRST_SECONDS))


def throttle_and_halve(trial: RelayTrial) -> Measured:
    """Publish while the relay throttles, and let it take half midway."""
    row = trial.row
    halves = [replace(rule, beyond=rule.beyond // 2) for rule in row.rules]
    return _watch(trial, row.takes * (0.75 * row.watched - _FIRST_SECONDS), halves)


def _watch(trial: RelayTrial, later_taken: float, later: Sequence[Rule] = ()) -> Measured:
    """Watch a throttle that takes so many messages after the first minute."""
    seconds = trial.row.watched
    trial.misbehave()
    trial.publish()
    accepted, refused = _until(trial, _FIRST_SECONDS)
    remark = f"in the first minute {accepted:,} accepted and {refused:,} throttled"
    if later:
        _until(trial, seconds / 2)
        trial.relay.follow(later)
    accepted, refused = (
        now - before
        for now, before in zip(_until(trial, seconds), (accepted, refused), strict=True)
    )
    throttled = refused / max(1, accepted + refused)
    return Measured(seconds, taken=accepted / later_taken, throttled=throttled, remark=remark)


def _until(trial: RelayTrial, seconds: float) -> tuple[int, int]:
    """Let so many seconds pass since the release was published; give what was answered."""
    time.sleep(max(0.0, trial.began + seconds - time.time()))
    return len(trial.arrived()), trial.refusals()


def refuse_another_sender(trial: RelayTrial) -> Measured:
    """Let another press room's release wait for its sender, and publish ours."""
    trial.misbehave()
    people = {f"reader{one}@vika.example.org" for one in range(trial.number)}
    other = trial.open_press_room("vika", people)
    waiting = other.publish("refused")["id"]
    eventually(lambda: any(one.stage == "mail" for one in trial.relay.named()), "it is refused")
    trial.publish()
    measured = trial.measure()
    receipt = other.receipt(waiting)
    assert receipt["waiting"] == trial.number, receipt
    return replace(measured, remark="the other's release waits, nobody of it refused")


def _halt_and_mend(trial: RelayTrial, began: float, *, publish: bool = False) -> Measured:
    trial.misbehave()
    if publish:
        trial.publish()
    moment = trial.until_halted()
    seconds = time.time() - began
    named = trial.named_after(moment)
    receipt, because = trial.receipt(), trial.publishing.release(trial.release)["paused_because"]
    assert receipt["state"] == "paused", receipt
    assert because
    assert receipt["refused"] == 0, receipt
    trial.relay.order("well")
    trial.publishing.resume(trial.release)
    measured = trial.measure()
    remark = f"paused after {seconds:.1f} s with {receipt['accepted']:,} accepted; mended, resumed"
    return replace(measured, named_after=named, remark=remark)


def _stop(trial: RelayTrial) -> Measured:
    began = time.time()
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(trial.publishing.stop, trial.release)
        moment = trial.until_halted()
        call.result()
    named = trial.named_after(moment)
    eventually(lambda: trial.receipt()["state"] == "stopped", "stopped")
    remark = f"stopped with {trial.receipt()['accepted']:,} accepted"
    return Measured(time.time() - began, named_after=named, remark=remark)
