"""Erasure (GDPR, 17): delete a subscriber; an HMAC of the address keeps imports from adding it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Literal

from sqlalchemy import delete, exists, func, or_, select, text, update
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.fingerprints import note_erasure_key
from mailer.domain.followers import ways_out
from mailer.errors import Misconfigured, NotFound
from mailer.mail.addresses import canonical
from mailer.storage.database import transaction
from mailer.storage.models import (
    AddressChange,
    Consent,
    Erased,
    OutboxMessage,
    Subscriber,
    Subscription,
)
from mailer.storage.sql import insert
from mailer.storage.types import now

_OWNERS = 0x6F776E73
"""The number of an advisory lock of PostgreSQL."""
_NO_KEY = "MAILER_ERASURE_KEY: is not set, and without it no subscriber can be kept forgotten."


def erase(settings: Settings, address: str) -> None:
    """Erase an address; raises InvalidAddress, NotFound, and Misconfigured without a key."""
    address = canonical(address)
    _require_key(settings)
    with transaction() as session:
        keep_owners(session, change=True)
        asked = delete(AddressChange).where(AddressChange.address == address)
        known = session.scalars(asked.returning(AddressChange.id)).all()
        person = session.scalar(select(Subscriber.id).where(Subscriber.address == address))
        if person is not None:
            erase_subscribers(session, settings, [person])
        elif not known:
            raise NotFound("No subscriber has this address.")


def erase_subscriber_of(settings: Settings, subscription_id: int) -> None:
    """Erase the subscriber of a subscription, if it still has one; raises Misconfigured."""
    _require_key(settings)
    with transaction() as session:
        keep_owners(session, change=True)
        person = session.scalar(
            select(Subscription.subscriber_id).where(Subscription.id == subscription_id)
        )
        if person is not None:
            erase_subscribers(session, settings, [person])


def erase_subscribers(
    session: Session, settings: Settings, ids: Sequence[int], *, asked: bool = True
) -> None:
    """Delete these subscribers; their subscriptions end and are anonymised.

    If MAILER_ERASURE_KEY is set, an HMAC is kept of the addresses of those who asked for that, and
    of those who had left: no import may bring them back. Of an address that was typed and
    never confirmed, nothing is kept. Raises Misconfigured if that key has changed.
    """
    lock_subscribers(session, ids)
    found = select(Subscriber.address).where(Subscriber.id.in_(ids))
    if not asked:
        left = Subscription.ended_reason.startswith("unsubscribed")
        found = found.where(exists().where(Subscription.subscriber_id == Subscriber.id, left))
    addresses = session.scalars(found).all()
    theirs = select(Subscriber.address).where(Subscriber.id.in_(ids))
    session.execute(
        delete(AddressChange).where(
            or_(AddressChange.subscriber_id.in_(ids), AddressChange.address.in_(theirs))
        )
    )
    if settings.erasure_key is not None and addresses:
        note_erasure_key(session, settings.erasure_key)
        session.execute(
            insert(session, Erased).on_conflict_do_nothing(),
            [{"digest": _digest(settings.erasure_key, one), "at": now()} for one in addresses],
        )
    owned = select(Subscription).where(Subscription.subscriber_id.in_(ids))
    subscriptions = session.scalars(owned).all()
    _anonymise(session, [one.id for one in subscriptions])
    session.execute(delete(Subscriber).where(Subscriber.id.in_(ids)))
    if asked:
        ways_out.note(session, settings, "erased", *subscriptions)


def lock_subscribers(session: Session, ids: Sequence[int]) -> None:
    """Lock the rows of subscribers and their subscriptions until the commit.

    Lock order: the lock of owners, table `erased`, then subscribers, then subscriptions; a
    sign-up takes the last two.
    """
    keep_owners(session, change=True)
    for column, subscriber_id in (
        (Subscriber.id, Subscriber.id),
        (Subscription.id, Subscription.subscriber_id),
    ):
        rows = select(column).where(subscriber_id.in_(ids)).order_by(column)
        session.execute(rows.with_for_update(key_share=column is Subscription.id))


def keep_owners(session: Session, *, change: bool = False) -> None:
    """Let no other transaction give a subscription another subscriber, or take its own away.

    A transaction that does that (`change`) runs alone, without an import; those that act on a link
    run together. SQLite has one writer anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock if change else func.pg_advisory_xact_lock_shared
        session.execute(select(lock(_OWNERS)))
    if change:
        lock_erased(session, "ROW EXCLUSIVE")


def clear_erasure(session: Session, settings: Settings, address: str) -> None:
    """Delete the HMAC of an erased address whose owner has confirmed a new subscription."""
    if settings.erasure_key is not None:
        digest = _digest(settings.erasure_key, address)
        session.execute(delete(Erased).where(Erased.digest == digest))


def erased_addresses(session: Session, key: str | None, addresses: Iterable[str]) -> set[str]:
    """Return which of the canonical addresses were erased; erasures wait until the commit.

    Raises Misconfigured if addresses were erased, and the key that recognises them is missing.
    """
    lock_erased(session, "SHARE")
    if key is None:
        if session.scalar(select(Erased.digest).limit(1)) is not None:
            raise Misconfigured(_NO_KEY)
        return set()
    if session.scalar(select(Erased.digest).limit(1)) is None:
        return set()
    note_erasure_key(session, key)
    digests = {_digest(key, one): one for one in addresses}
    found = session.scalars(select(Erased.digest).where(Erased.digest.in_(digests)))
    return {digests[one] for one in found}


def lock_erased(session: Session, mode: Literal["ROW EXCLUSIVE", "SHARE"]) -> None:
    """Let an import (SHARE) and an erasure wait for each other; SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"LOCK TABLE erased IN {mode} MODE"))


def _anonymise(session: Session, subscriptions: Sequence[int]) -> None:
    """End subscriptions, and take their subscribers out; sent letters keep their Message-IDs."""
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
