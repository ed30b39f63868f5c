"""Sign-up: the same SQL statements for every address, known or not."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.followers.signup_statements import given, limit_statements, statements
from mailer.domain.followers.suppression import trial_values
from mailer.domain.outbox import new_message_id
from mailer.mail.addresses import domain, folded, is_of_large_provider
from mailer.storage.models import Publisher, SignUp, Subscriber, Subscription
from mailer.storage.types import new_nonce, now

Values = dict[str, Any]
Answer = Literal["asked", "used up", "too many"]
"""What a sign-up brings: a letter, or the one of the last hour; none any more today, since other
sign-ups have used its mailbox's up; or none while so many of its mail domain are not confirmed."""


def ask_to_confirm(
    session: Session,
    settings: Settings,
    publisher: Publisher,
    address: str,
    proof: Values,
    wait_seconds: float = 0,
) -> Answer:
    """Write the subscription, and the letter that answers, with a consent row if one is due.

    The letter asks to confirm, or tells who follows already that they do. None is due if a limit
    is reached, or if the subscriber is suppressed and this is no trial. It leaves after
    `wait_seconds`. Every address takes the same statements, and something is written in every
    case, so that the duration tells little about the address; a limit counts the sign-up whatever
    is known about it.
    """
    # Without the ORM: none of these rows is used as an object.
    connection = session.connection()
    made = statements(connection.dialect.name)
    values = proof | _values(settings, publisher, address, wait_seconds)
    values |= {"locale": proof["language"]}
    *before, subscription = made.subscribe
    for statement in before:
        connection.execute(statement, given(values))
    values |= {"subscription_id": connection.scalar(subscription, given(values))}
    lately, of_the_domain, allowed = connection.execute(made.count, given(values)).one()
    values |= {"allowed": allowed}
    for statement in made.queue_letter:
        connection.execute(statement, given(values))
    return _answer(settings, allowed or lately, of_the_domain)


def count_letter(
    session: Session, settings: Settings, publisher: Publisher, address: str
) -> Answer:
    """Count a letter that a follower has asked for to a mailbox, as if it were a sign-up."""
    connection = session.connection()
    lock, count, counted = limit_statements(connection.dialect.name)
    values = _values(settings, publisher, address, 0)
    connection.execute(lock, given(values))
    _lately, of_the_domain, allowed = connection.execute(count, given(values)).one()
    connection.execute(counted, given(values | {"allowed": allowed}))
    return _answer(settings, allowed, of_the_domain)


def _answer(settings: Settings, written: object, of_the_domain: int) -> Answer:
    if written:
        return "asked"
    return "too many" if of_the_domain >= settings.follows_an_hour_for_domain else "used up"


def _values(settings: Settings, publisher: Publisher, address: str, wait_seconds: float) -> Values:
    moment = now()
    own = domain(address) == domain(publisher.from_address)
    unlimited = own or is_of_large_provider(address)
    return {
        "address": address,
        "publisher_id": publisher.id,
        "epoch": 0,
        "attempts": 0,
        "message_id": new_message_id(publisher),
        "at": moment,
        "created_at": moment,
        "requested_at": moment,
        "nonce": new_nonce(),
        "not_before": int((moment.timestamp() + wait_seconds) * 1000) if wait_seconds else None,
        "mailbox": digest(settings, folded(address)),
        "domain": None if unlimited else digest(settings, domain(address)),
        "of_a_domain": settings.follows_an_hour_for_domain,
        "an_hour_ago": moment - timedelta(hours=1),
        "a_day_ago": moment - timedelta(days=1),
    } | trial_values(moment)


def give_place_back(session: Session, settings: Settings, subscription: Subscription) -> None:
    """Let the limits forget a sign-up that was confirmed."""
    if subscription.subscriber_id is None:
        return
    address = session.get_one(Subscriber, subscription.subscriber_id).address
    first = select(func.min(SignUp.id)).where(
        SignUp.mailbox == digest(settings, folded(address)),
        SignUp.publisher_id == subscription.publisher_id,
    )
    session.execute(delete(SignUp).where(SignUp.id == first.scalar_subquery()))


def digest(settings: Settings, name: str) -> str:
    """Return a keyed hash by which limits know a mailbox or a domain without its name."""
    key = hashlib.sha256(settings.secret_keys[0].encode()).digest()
    return hashlib.blake2b(name.encode(), key=key, digest_size=16).hexdigest()
