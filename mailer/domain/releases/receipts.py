"""The receipt: counts of what became of a release's recipients, which add up to the total."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import (
    BindParameter,
    Integer,
    String,
    bindparam,
    cast,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from mailer.domain.releases import lifecycle
from mailer.errors import NotFound
from mailer.mail.addresses import canonical
from mailer.storage.database import read_transaction
from mailer.storage.models import (
    Batch,
    BatchMembers,
    Outcome,
    PastOutcome,
    Publisher,
    RelayState,
    Release,
    Subscriber,
    Subscription,
    Uncertain,
)


@dataclass(slots=True)
class Receipt:
    """The counts at one instant: total = accepted + refused + skipped + deferred + waiting."""

    state: str
    total: int = 0
    accepted: int = 0
    refused: int = 0
    skipped: int = 0
    deferred: int = 0
    waiting: int = 0
    uncertain: int = 0
    """Recipients who may have the message twice; they are counted above too, so never add them."""
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    because: str | None = None
    """Why nothing moves for now, in a sentence."""

    def as_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return asdict(self)


def receipt(publisher: Publisher, release_id: int) -> Receipt:
    """Return the receipt of a release; raises NotFound."""
    with read_transaction() as session:
        release = lifecycle.by_id(session, publisher, release_id)
        counted = count_recipients(session, release_id)
        counted.because = _why_it_waits(session, release, counted)
        return counted


_THIS: BindParameter[int] = bindparam("release_id")
_COUNTS = union_all(
    select(literal("release"), Release.state, Release.total).where(Release.id == _THIS),
    select(
        literal("position"), literal(""), cast(func.coalesce(func.sum(Batch.position), 0), Integer)
    ).where(Batch.release_id == _THIS, Batch.kind == "first"),
    select(cast(Outcome.kind, String), Outcome.reason, cast(func.count(), Integer))
    .where(Outcome.release_id == _THIS)
    .group_by(Outcome.kind, Outcome.reason),
    select(literal("uncertain"), Uncertain.reason, cast(func.count(), Integer))
    .where(Uncertain.release_id == _THIS)
    .group_by(Uncertain.reason),
)
_IDS = (
    select(Subscription.id)
    .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
    .where(
        Subscriber.address == bindparam("address"),
        Subscription.publisher_id == bindparam("publisher_id"),
    )
)
_BATCHES_AROUND = (
    select(BatchMembers.ids, Batch.position)
    .join(Batch, Batch.id == BatchMembers.batch_id)
    .where(
        Batch.release_id == _THIS,
        Batch.kind == "first",
        Batch.lowest <= bindparam("id"),
        Batch.highest >= bindparam("id"),
    )
)
_BEFORE = (
    select(PastOutcome)
    .where(PastOutcome.release_id == _THIS, PastOutcome.subscription_id == bindparam("id"))
    .order_by(PastOutcome.id)
)


def _why_it_waits(session: Session, release: Release, counted: Receipt) -> str | None:
    """Say why nothing of a release is sent for now; None if it is being sent, or at its end."""
    if counted.state != "sending":
        return release.paused_because
    relay = session.get_one(RelayState, 1)
    if relay.refused_since is not None:
        return "The mail relay does not take our connections or our password. It is tried again."
    if relay.probe_after is not None:
        return "The mail relay takes nothing for now. It is tried again every few minutes."
    if release.rests:
        return "The mail relay does not take the sender for now. It is tried again."
    if counted.deferred and not counted.waiting:
        return "The mail servers of these recipients put them off. They are tried again."
    return None


def count_recipients(session: Session, release_id: int) -> Receipt:
    """Count everything in one statement, because one statement sees one instant."""
    rows = session.execute(_COUNTS, {"release_id": release_id}).all()
    sums: dict[str, int] = {}
    reasons: dict[str, dict[str, int]] = {}
    state = ""
    for kind, reason, number in rows:
        if kind == "release":
            state = reason
        elif kind != "position":
            reasons.setdefault(kind, {})[reason] = number
        sums[kind] = sums.get(kind, 0) + number
    return _balance(state, sums, reasons)


def _balance(state: str, sums: dict[str, int], reasons: dict[str, dict[str, int]]) -> Receipt:
    refused, skipped, deferred = (sums.get(kind, 0) for kind in ("refused", "skipped", "deferred"))
    accepted = sums["position"] - refused - skipped - deferred
    waiting = sums["release"] - sums["position"]
    if state == "stopped" and waiting:
        # Recipients not yet tried at a stop get no outcome; they are counted from the batches.
        stopped = reasons.setdefault("skipped", {})
        stopped["stopped"] = stopped.get("stopped", 0) + waiting
        skipped, waiting = skipped + waiting, 0
    counts = (sums["release"], accepted, refused, skipped, deferred, waiting)
    return Receipt(state, *counts, sums.get("uncertain", 0), reasons)


def recipient(publisher: Publisher, release_id: int, address: str) -> dict[str, Any]:
    """Return what became of one recipient, as JSON values; raises InvalidAddress and NotFound."""
    address = canonical(address)
    with read_transaction() as session:
        release = lifecycle.by_id(session, publisher, release_id)
        ids = session.scalars(_IDS, {"address": address, "publisher_id": publisher.id}).all()
        for subscription_id in ids:
            if (found := _state(session, release, subscription_id)) is not None:
                return {"address": address, **found}
    raise NotFound("This address is not among the recipients of this release.")


def _state(session: Session, release: Release, subscription_id: int) -> dict[str, Any] | None:
    handled = _is_handled(session, release.id, subscription_id)
    if handled is None:
        return None
    outcome = session.get(Outcome, (release.id, subscription_id))
    uncertain = session.get(Uncertain, (release.id, subscription_id)) is not None
    if outcome is not None:
        state, reason = outcome.kind, outcome.reason
    elif handled:
        state, reason = "accepted", None
    elif release.state == "stopped":
        state, reason = "skipped", "stopped"
    else:
        state, reason = "waiting", None
    before = session.scalars(_BEFORE, {"release_id": release.id, "id": subscription_id})
    return {
        "state": state,
        "reason": reason,
        "uncertain": uncertain,
        "before": [
            {"state": one.kind, "reason": one.reason, "at": one.at.isoformat()} for one in before
        ],
    }


def _is_handled(session: Session, release_id: int, subscription_id: int) -> bool | None:
    """Tell whether a batch is past the recipient; None if they are not in the audience."""
    # If some recipients get another kind of letter, the id ranges of batches overlap.
    around = session.execute(_BATCHES_AROUND, {"release_id": release_id, "id": subscription_id})
    for ids, position in around:
        if subscription_id in ids:
            return bool(ids.index(subscription_id) < position)
    return None
