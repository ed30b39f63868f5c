"""Asking to confirm: a sign-up is the same statements, whoever it is.

They are put together once for each kind of database: that would be half the work of a sign-up.
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
    asked: Sequence[Executable]
    """The last of these returns the id of the subscription."""
    promised: Sequence[Executable]
    """These need it."""


def ask_to_confirm(session: Session, publisher: Publisher, address: str, proof: Values) -> None:
    """Write down that somebody asked to follow a press room, and the letter if one is called for.

    It is not for whoever has confirmed, for a mailbox that does not exist, and for whoever has
    had as many letters as are polite. Something is written in any case, and nothing is looked up
    that another would not be looked up for, so that the time it takes tells little.
    """
    # Past the ORM, which has nothing to keep of these rows.
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
    *before, subscription = made.asked
    for statement in before:
        connection.execute(statement, given)
    given |= _given({"subscription_id": connection.scalar(subscription, given)})
    for statement in made.promised:
        connection.execute(statement, given)


@cache
def _statements(dialect_name: str) -> _Statements:
    person = _person(insert_into(dialect_name, Subscriber))
    subscription = insert_into(dialect_name, Subscription)
    letter = _letter(insert_into(dialect_name, OutboxMessage))
    proof = insert_into(dialect_name, Consent)
    if dialect_name == "postgresql":
        # Two in one, to save the way there and back. Not all four: the letters of somebody who
        # asked at the same moment are seen only by what begins when their row is free again.
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
    """Find or write down a person, and hold the row.

    Two sign-ups of one person then come one after the other, and letters are counted right.
    """
    return insert.from_select(
        _PERSON, select(*_parameters(Subscriber, _PERSON))
    ).on_conflict_do_update(index_elements=["address"], set_={"created_at": Subscriber.created_at})


def _subscription(insert: Upsert, person: Select[int]) -> Executable:
    """Find the open subscription, or begin one.

    Until it is confirmed, it is in the language in which it was last asked for.
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
    """Write the question down if it is called for.

    Its limits are held by the database, so that they hold where no cache remembers who asked.
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
    """Add the proof to the letter; without a letter there is none."""
    return insert.from_select(_PROOF, select(*_parameters(Consent, _PROOF)).where(letter.exists()))


def _parameters(table: type[Base], names: Sequence[str]) -> list[BindParameter[Any]]:
    return [_one(table, name) for name in names]


def _one(table: type[Base], name: str) -> BindParameter[Any]:
    """Make what a SELECT answers with, of the type of its column."""
    return bindparam(f"given_{name}", type_=table.__table__.c[name].type)


def _given(values: Values) -> Values:
    """Name values apart from the columns that they are for, as SQLAlchemy wants them."""
    return {f"given_{name}": value for name, value in values.items()}
