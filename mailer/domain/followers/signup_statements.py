"""The statements of a sign-up, which are the same for every address.

They are built once for each dialect: building them would be half the work of a sign-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    Executable,
    Select,
    Update,
    and_,
    bindparam,
    case,
    func,
    select,
    text,
    update,
)

from mailer.domain.followers.suppression import may_be_written_to
from mailer.storage.models import (
    Base,
    Consent,
    OutboxMessage,
    SignUp,
    Subscriber,
    Subscription,
)
from mailer.storage.sql import Upsert, insert_into

OF_A_ROOM_AN_HOUR = 2
"""Letters to one mailbox: one, and one more if the visitor signs up again."""
A_DAY, OF_OTHER_ROOMS_A_DAY = 5, 2
"""Letters to one mailbox, and how many of them are kept for press rooms that wrote none today."""

_PERSON = ("address", "created_at")
_SUBSCRIPTION = ("publisher_id", "locale", "requested_at", "nonce")
_SIGN_UP = ("publisher_id", "mailbox", "domain", "at")
_LETTER = (
    *("subscription_id", "message_id", "created_at", "not_before", "epoch"),
    "attempts",
)
_PROOF = (
    *("subscription_id", "step", "at", "wording", "language", "page", "network"),
    "message_id",
)


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of a sign-up, in their order."""

    subscribe: Sequence[Executable]
    """The last of these returns the id of the subscription."""
    count: Executable
    """This returns how many sign-ups of the mailbox here in this hour, and of its domain, the
    limits have counted before, and whether none of them is reached."""
    queue_letter: Sequence[Executable]
    """These take the id of the subscription, and whether no limit is reached."""


@cache
def limit_statements(dialect_name: str) -> Sequence[Executable]:
    """Return three statements: lock a mailbox, count as in a sign-up, insert what is counted."""
    postgresql = dialect_name == "postgresql"
    allowed: ColumnElement[bool] = bindparam("given_allowed", type_=Boolean)
    return (
        select(_lock_of_mailbox()) if postgresql else select(1),
        _count(),
        _counted(insert_into(dialect_name, SignUp), allowed),
    )


@cache
def statements(dialect_name: str) -> Statements:
    """Return the statements of a sign-up in a dialect."""
    person = _person(dialect_name)
    subscription = insert_into(dialect_name, Subscription)
    counted = insert_into(dialect_name, SignUp)
    letter = insert_into(dialect_name, OutboxMessage)
    proof = insert_into(dialect_name, Consent)
    count = _count()
    allowed: ColumnElement[bool] = bindparam("given_allowed", type_=Boolean)
    if dialect_name == "postgresql":
        # Two statements in one save round trips. Not all in one: sign-ups of the same mailbox are
        # visible only to a statement that begins after its lock is free.
        found = select(person.returning(Subscriber.id).cte("person").c.id)
        counts = count.cte("counts")
        allowed = select(counts.c.allowed).scalar_subquery()
        inserted = _letter(letter, allowed).returning(OutboxMessage.kind).cte("letter")
        written = select(inserted.c.kind)
        proven = _proof(proof, written).cte("proof")
        tried = _trial(written).cte("trial")
        answer = select(counts).add_cte(_counted(counted, allowed).cte("counted"), proven, tried)
        return Statements([_subscription(subscription, found)], answer, [])
    found = select(Subscriber.id).where(Subscriber.address == _one(Subscriber, "address"))
    queued = select(OutboxMessage.kind).where(
        OutboxMessage.message_id == _one(OutboxMessage, "message_id"),
        OutboxMessage.subscription_id == _one(OutboxMessage, "subscription_id"),
    )
    return Statements(
        [person, _subscription(subscription, found)],
        count,
        [
            _counted(counted, allowed),
            _letter(letter, allowed),
            _proof(proof, queued),
            _trial(queued),
        ],
    )


def _person(dialect_name: str) -> Upsert:
    """Find or insert the subscriber, and lock the mailbox.

    Concurrent sign-ups of one mailbox then run one after another, and are counted right; SQLite
    has one writer at a time.
    """
    given = select(*_parameters(Subscriber, _PERSON))
    if dialect_name == "postgresql":
        given = given.where(_lock_of_mailbox().is_not(None))
    insert = insert_into(dialect_name, Subscriber).from_select(_PERSON, given)
    return insert.on_conflict_do_update(
        index_elements=["address"], set_={"created_at": Subscriber.created_at}
    )


def _lock_of_mailbox() -> ColumnElement[Any]:
    return func.pg_advisory_xact_lock(func.hashtextextended(_one(SignUp, "mailbox"), 0))


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


def _count() -> Select[int, int, bool]:
    """Count the sign-ups of a mailbox and, if it has a limit, of its domain that are not confirmed.

    They are counted in the database: a cache may lose its counts.
    """
    here = SignUp.publisher_id == _one(SignUp, "publisher_id")
    lately = SignUp.at > bindparam("given_an_hour_ago")
    of_the_domain = select(func.count()).where(SignUp.domain == _one(SignUp, "domain"), lately)
    theirs = SignUp.mailbox == _one(SignUp, "mailbox")
    counts = (
        select(
            func.count().label("today"),
            func.count().filter(here).label("today_here"),
            func.count().filter(here, lately).label("lately_here"),
            of_the_domain.label("of_the_domain"),
        )
        .where(theirs, SignUp.at > bindparam("given_a_day_ago"))
        .subquery()
        .c
    )
    most_today = case((counts.today_here > 0, A_DAY - OF_OTHER_ROOMS_A_DAY), else_=A_DAY)
    allowed = and_(
        counts.lately_here < OF_A_ROOM_AN_HOUR,
        counts.today < most_today,
        counts.of_the_domain < bindparam("given_of_a_domain"),
    )
    return select(counts.lately_here, counts.of_the_domain, allowed.label("allowed"))


def _counted(insert: Upsert, allowed: ColumnElement[bool]) -> Upsert:
    """Insert what the limits count."""
    return insert.from_select(_SIGN_UP, select(*_parameters(SignUp, _SIGN_UP)).where(allowed))


def _letter(insert: Upsert, allowed: ColumnElement[bool]) -> Upsert:
    """Insert the letter that answers, if one is due."""
    follows = and_(Subscription.confirmed_at.is_not(None), Subscriber.suppressed_at.is_(None))
    wanted = (
        select(case((follows, "following"), else_="confirm"), *_parameters(OutboxMessage, _LETTER))
        .select_from(Subscription)
        .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(
            Subscription.id == _one(OutboxMessage, "subscription_id"),
            allowed,
            may_be_written_to(),
        )
    )
    return insert.from_select(("kind", *_LETTER), wanted)


def _proof(insert: Upsert, letter: Select[str]) -> Upsert:
    """Insert the consent row if the letter that was inserted asks to confirm."""
    asked = letter.where(letter.selected_columns[0] == "confirm").exists()
    return insert.from_select(_PROOF, select(*_parameters(Consent, _PROOF)).where(asked))


def _trial(letter: Select[str]) -> Update:
    """Note a trial, if the letter is one."""
    person = select(Subscription.subscriber_id).where(
        Subscription.id == _one(OutboxMessage, "subscription_id")
    )
    return (
        update(Subscriber)
        .where(
            Subscriber.id == person.scalar_subquery(),
            Subscriber.suppressed_at.is_not(None),
            letter.exists(),
        )
        .values(tries=Subscriber.tries + 1, tried_at=_one(SignUp, "at"))
    )


def _parameters(table: type[Base], names: Sequence[str]) -> list[BindParameter[Any]]:
    return [_one(table, name) for name in names]


def _one(table: type[Base], name: str) -> BindParameter[Any]:
    """Make a parameter with the type of its column, for a SELECT to return."""
    return bindparam(f"given_{name}", type_=table.__table__.c[name].type)


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Prefix the names of parameters: SQLAlchemy reserves the names of an INSERT's columns."""
    return {f"given_{name}": value for name, value in values.items()}
