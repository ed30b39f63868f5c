"""Sign-up: the same SQL statements for every address, known or not.

They are built once for each dialect: building them would be half the work of a sign-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, Executable, Select, bindparam, case, func, select, text
from sqlalchemy.orm import Session, aliased

from mailer.domain.outbox import CONFIRMATIONS_AN_HOUR, LETTERS_A_DAY, new_message_id
from mailer.storage.database import Upsert, insert_into
from mailer.storage.models import (
    Base,
    Consent,
    OutboxMessage,
    Publisher,
    Subscriber,
    Subscription,
)
from mailer.storage.types import now

Values = dict[str, Any]

_PERSON = ("address", "created_at")
_SUBSCRIPTION = ("publisher_id", "locale", "requested_at")
_LETTER = ("kind", "subscription_id", "message_id", "created_at")
_PROOF = (
    *("subscription_id", "step", "at", "wording", "language", "page", "network"),
    "message_id",
)


@dataclass(frozen=True, slots=True)
class _Statements:
    subscribe: Sequence[Executable]
    """The last of these returns the id of the subscription."""
    queue_letter: Sequence[Executable]
    """These take the id of the subscription as a parameter."""


def ask_to_confirm(session: Session, publisher: Publisher, address: str, proof: Values) -> None:
    """Write the subscription, and the confirmation letter with its consent row if one is due.

    No letter is due if the subscription is confirmed, the subscriber is suppressed, or a letter
    limit is reached. Every address takes the same statements, and something is written in every
    case, so that the duration tells little about the address.
    """
    # Without the ORM: none of these rows is used as an object.
    connection, moment = session.connection(), now()
    made = _statements(connection.dialect.name)
    values = proof | {
        "address": address,
        "publisher_id": publisher.id,
        "locale": proof["language"],
        "kind": "confirm",
        "message_id": new_message_id(publisher),
        "created_at": moment,
        "requested_at": moment,
        "an_hour_ago": moment - timedelta(hours=1),
        "a_day_ago": moment - timedelta(days=1),
    }
    given = _given(values)
    *before, subscription = made.subscribe
    for statement in before:
        connection.execute(statement, given)
    given |= _given({"subscription_id": connection.scalar(subscription, given)})
    for statement in made.queue_letter:
        connection.execute(statement, given)


@cache
def _statements(dialect_name: str) -> _Statements:
    person = _person(insert_into(dialect_name, Subscriber))
    subscription = insert_into(dialect_name, Subscription)
    letter = _letter(insert_into(dialect_name, OutboxMessage))
    proof = insert_into(dialect_name, Consent)
    if dialect_name == "postgresql":
        # Two statements in one save round trips. Not all four in one: letters of a concurrent
        # sign-up are visible only to a statement that begins after the subscriber's row is free.
        found = select(person.returning(Subscriber.id).cte("person").c.id)
        written = select(letter.returning(OutboxMessage.id).cte("letter").c.id)
        return _Statements([_subscription(subscription, found)], [_proof(proof, written)])
    found = select(Subscriber.id).where(Subscriber.address == _one(Subscriber, "address"))
    written = select(OutboxMessage.id).where(
        OutboxMessage.message_id == _one(OutboxMessage, "message_id"),
        OutboxMessage.subscription_id == _one(OutboxMessage, "subscription_id"),
    )
    return _Statements(
        [person, _subscription(subscription, found)], [letter, _proof(proof, written)]
    )


def _person(insert: Upsert) -> Upsert:
    """Find or insert the subscriber, and lock the row.

    Concurrent sign-ups of one address then run one after another, and letters are counted right.
    """
    return insert.from_select(
        _PERSON, select(*_parameters(Subscriber, _PERSON))
    ).on_conflict_do_update(index_elements=["address"], set_={"created_at": Subscriber.created_at})


def _subscription(insert: Upsert, person: Select[int]) -> Executable:
    """Find the open subscription or insert one, and return its id.

    Until it is confirmed, its locale is that of the latest sign-up.
    """
    locale = case(
        (Subscription.confirmed_at.is_(None), insert.excluded.locale), else_=Subscription.locale
    )
    begun = select(person.scalar_subquery(), *_parameters(Subscription, _SUBSCRIPTION))
    return (
        insert.from_select(("subscriber_id", *_SUBSCRIPTION), begun)
        .on_conflict_do_update(
            index_elements=["subscriber_id", "publisher_id"],
            index_where=text("ended_at IS NULL"),
            set_={"locale": locale},
        )
        .returning(Subscription.id)
    )


def _letter(insert: Upsert) -> Upsert:
    """Insert the confirmation letter if one is due.

    The limits are counted in the database, so that they hold even if a cache loses its counts.
    """
    theirs = aliased(Subscription)
    letters = select(func.count()).select_from(OutboxMessage)
    recent = letters.where(
        OutboxMessage.created_at > bindparam("given_an_hour_ago"),
        OutboxMessage.kind == "confirm",
        OutboxMessage.subscription_id == Subscription.id,
    ).correlate(Subscription)
    today = (
        letters.join(theirs, theirs.id == OutboxMessage.subscription_id)
        .where(
            OutboxMessage.created_at > bindparam("given_a_day_ago"),
            theirs.subscriber_id == Subscriber.id,
        )
        .correlate(Subscriber)
    )
    wanted = (
        select(*_parameters(OutboxMessage, _LETTER))
        .select_from(Subscription)
        .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(
            Subscription.id == _one(OutboxMessage, "subscription_id"),
            Subscription.confirmed_at.is_(None),
            Subscriber.suppressed_at.is_(None),
            recent.scalar_subquery() < CONFIRMATIONS_AN_HOUR,
            today.scalar_subquery() < LETTERS_A_DAY,
        )
    )
    return insert.from_select(_LETTER, wanted)


def _proof(insert: Upsert, letter: Select[int]) -> Executable:
    """Insert the consent row if the letter was inserted."""
    return insert.from_select(_PROOF, select(*_parameters(Consent, _PROOF)).where(letter.exists()))


def _parameters(table: type[Base], names: Sequence[str]) -> list[BindParameter[Any]]:
    return [_one(table, name) for name in names]


def _one(table: type[Base], name: str) -> BindParameter[Any]:
    """Make a parameter with the type of its column, for a SELECT to return."""
    return bindparam(f"given_{name}", type_=table.__table__.c[name].type)


def _given(values: Values) -> Values:
    """Prefix the names of parameters: SQLAlchemy reserves the names of an INSERT's columns."""
    return {f"given_{name}": value for name, value in values.items()}
