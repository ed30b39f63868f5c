"""Erasure: a person goes, and a keyed hash stays, so that no file brings them back (GDPR, 17)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Literal

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.errors import Misconfigured, NotFound
from mailer.mail.addresses import canonical
from mailer.storage.database import insert, transaction
from mailer.storage.models import Consent, Erased, OutboxMessage, Subscriber, Subscription
from mailer.storage.types import now

_NO_KEY = "MAILER_ERASURE_KEY: is not set, and without it nobody can be kept forgotten."


def erase(settings: Settings, address: str) -> None:
    """Forget an address; raises InvalidAddress, NotFound, and Misconfigured without a key."""
    address = canonical(address)
    _require_key(settings)
    with transaction() as session:
        person = session.scalar(select(Subscriber.id).where(Subscriber.address == address))
        if person is None:
            raise NotFound("Nobody here has this address.")
        forget(session, settings, [person])


def erase_owner(settings: Settings, subscription_id: int) -> None:
    """Forget whoever a subscription belongs to; again is fine. Raises Misconfigured."""
    _require_key(settings)
    with transaction() as session:
        person = session.scalar(
            select(Subscription.subscriber_id).where(Subscription.id == subscription_id)
        )
        if person is not None:
            forget(session, settings, [person])


def forget(session: Session, settings: Settings, people: Sequence[int]) -> None:
    """Leave of these people bare subscriptions, when they agreed to what, and a keyed hash.

    The hash is only made where there is a key for it.
    """
    hold(session, people)
    found = session.scalars(select(Subscriber.address).where(Subscriber.id.in_(people))).all()
    if settings.erasure_key is not None and found:
        session.execute(
            insert(session, Erased).on_conflict_do_nothing(),
            [{"digest": _digest(settings.erasure_key, one), "at": now()} for one in found],
        )
    theirs = select(Subscription.id).where(Subscription.subscriber_id.in_(people))
    _empty(session, session.scalars(theirs).all())
    session.execute(delete(Subscriber).where(Subscriber.id.in_(people)))


def hold(session: Session, people: Sequence[int]) -> None:
    """Keep everybody else from people and their subscriptions until the commit.

    A person comes before their subscriptions, as in a sign-up.
    """
    _keep_apart(session, "ROW EXCLUSIVE")
    for column, person in (
        (Subscriber.id, Subscriber.id),
        (Subscription.id, Subscription.subscriber_id),
    ):
        rows = select(column).where(person.in_(people)).order_by(column)
        session.execute(rows.with_for_update(key_share=column is Subscription.id))


def clear_erasure(session: Session, settings: Settings, subscription: Subscription) -> None:
    """Let somebody who has confirmed anew be known again."""
    if settings.erasure_key is not None:
        person = session.get_one(Subscriber, subscription.subscriber_id)
        digest = _digest(settings.erasure_key, person.address)
        session.execute(delete(Erased).where(Erased.digest == digest))


def forgotten(session: Session, key: str | None, addresses: Iterable[str]) -> set[str]:
    """Return those of canonical addresses that were erased; no more are until the commit.

    Raises Misconfigured if somebody was erased, and the key is gone that would tell who.
    """
    _keep_apart(session, "SHARE")
    if key is None:
        if session.scalar(select(Erased.digest).limit(1)) is not None:
            raise Misconfigured(_NO_KEY)
        return set()
    digests = {_digest(key, one): one for one in addresses}
    found = session.scalars(select(Erased.digest).where(Erased.digest.in_(digests)))
    return {digests[one] for one in found}


def _keep_apart(session: Session, mode: Literal["ROW EXCLUSIVE", "SHARE"]) -> None:
    """Keep imports and erasures apart; SQLite has one writer at a time anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"LOCK TABLE erased IN {mode} MODE"))


def _empty(session: Session, subscriptions: Sequence[int]) -> None:
    """Take the person, and all that could lead to them, out of their subscriptions."""
    ended = update(Subscription).where(Subscription.id.in_(subscriptions))
    session.execute(
        ended.where(Subscription.ended_at.is_(None)).values(ended_at=now(), ended_reason="erased")
    )
    session.execute(ended.values(subscriber_id=None))
    session.execute(
        update(Consent)
        .where(Consent.subscription_id.in_(subscriptions))
        .values(network=None, page=None, message_id=None)
    )
    session.execute(
        delete(OutboxMessage).where(
            OutboxMessage.subscription_id.in_(subscriptions), OutboxMessage.finished_at.is_(None)
        )
    )


def _require_key(settings: Settings) -> None:
    if settings.erasure_key is None:
        raise Misconfigured(_NO_KEY)


def _digest(key: str, address: str) -> str:
    return hmac.digest(key.encode(), address.encode(), hashlib.sha256).hex()
