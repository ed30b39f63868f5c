"""Sign-up: the same SQL statements for every address, known or not.

They are built once for each dialect: building them would be half the work of a sign-up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Literal

from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    Executable,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    select,
    text,
)
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.outbox import new_message_id
from mailer.mail.addresses import domain, folded, is_of_large_provider
from mailer.storage.models import (
    Base,
    Consent,
    OutboxMessage,
    Publisher,
    SignUp,
    Subscriber,
    Subscription,
)
from mailer.storage.sql import Upsert, insert_into
from mailer.storage.types import new_nonce, now

Values = dict[str, Any]
Answer = Literal["asked", "used up", "too many"]
"""What a sign-up brings: a letter, or the one of the last hour; none any more today, since other
sign-ups have used its mailbox's up; or none while so many of its mail domain are not confirmed."""

OF_A_ROOM_AN_HOUR = 2
"""Letters to one mailbox: one, and one more if the visitor signs up again."""
A_DAY, OF_OTHER_ROOMS_A_DAY = 5, 2
"""Letters to one mailbox, and how many of them are kept for press rooms that wrote none today."""

_PERSON = ("address", "created_at")
_SUBSCRIPTION = ("publisher_id", "locale", "requested_at", "nonce")
_SIGN_UP = ("publisher_id", "mailbox", "domain", "at")
_LETTER = (
    *("kind", "subscription_id", "message_id", "created_at", "not_before", "epoch"),
    "attempts",
)
_PROOF = (
    *("subscription_id", "step", "at", "wording", "language", "page", "network"),
    "message_id",
)


@dataclass(frozen=True, slots=True)
class _Statements:
    subscribe: Sequence[Executable]
    """The last of these returns the id of the subscription."""
    count: Executable
    """This returns how many sign-ups of the mailbox here in this hour, and of its domain, the
    limits have counted before, and whether none of them is reached."""
    queue_letter: Sequence[Executable]
    """These take the id of the subscription, and whether no limit is reached."""


def ask_to_confirm(
    session: Session,
    settings: Settings,
    publisher: Publisher,
    address: str,
    proof: Values,
    wait_seconds: float = 0,
) -> Answer:
    """Write the subscription, and the confirmation letter with its consent row if one is due.

    No letter is due if the subscription is confirmed, the subscriber is suppressed, or a limit is
    reached. It leaves after `wait_seconds`. Every address takes the same statements, and something
    is written in every case, so that the duration tells little about the address; a limit counts
    the sign-up whatever is known about it.
    """
    # Without the ORM: none of these rows is used as an object.
    connection = session.connection()
    made = _statements(connection.dialect.name)
    given = _given(proof | _values(settings, publisher, address, wait_seconds))
    given |= _given({"locale": proof["language"]})
    *before, subscription = made.subscribe
    for statement in before:
        connection.execute(statement, given)
    given |= _given({"subscription_id": connection.scalar(subscription, given)})
    lately, of_the_domain, allowed = connection.execute(made.count, given).one()
    given |= _given({"allowed": allowed})
    for statement in made.queue_letter:
        connection.execute(statement, given)
    if allowed or lately:
        return "asked"
    return "too many" if of_the_domain >= settings.follows_an_hour_for_domain else "used up"


def _values(settings: Settings, publisher: Publisher, address: str, wait_seconds: float) -> Values:
    moment = now()
    own = domain(address) == domain(publisher.from_address)
    unlimited = own or is_of_large_provider(address)
    return {
        "address": address,
        "publisher_id": publisher.id,
        "kind": "confirm",
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
    }


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


@cache
def _statements(dialect_name: str) -> _Statements:
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
        written = _letter(letter, allowed).returning(OutboxMessage.id).cte("letter")
        proven = _proof(proof, select(written.c.id)).cte("proof")
        answer = select(counts).add_cte(_counted(counted, allowed).cte("counted"), proven)
        return _Statements([_subscription(subscription, found)], answer, [])
    found = select(Subscriber.id).where(Subscriber.address == _one(Subscriber, "address"))
    queued = select(OutboxMessage.id).where(
        OutboxMessage.message_id == _one(OutboxMessage, "message_id"),
        OutboxMessage.subscription_id == _one(OutboxMessage, "subscription_id"),
    )
    return _Statements(
        [person, _subscription(subscription, found)],
        count,
        [_counted(counted, allowed), _letter(letter, allowed), _proof(proof, queued)],
    )


def _person(dialect_name: str) -> Upsert:
    """Find or insert the subscriber, and lock the mailbox.

    Concurrent sign-ups of one mailbox then run one after another, and are counted right; SQLite
    has one writer at a time.
    """
    given = select(*_parameters(Subscriber, _PERSON))
    if dialect_name == "postgresql":
        mailbox = func.hashtextextended(_one(SignUp, "mailbox"), 0)
        given = given.where(func.pg_advisory_xact_lock(mailbox).is_not(None))
    insert = insert_into(dialect_name, Subscriber).from_select(_PERSON, given)
    return insert.on_conflict_do_update(
        index_elements=["address"], set_={"created_at": Subscriber.created_at}
    )


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
    """Insert the confirmation letter if one is due."""
    wanted = (
        select(*_parameters(OutboxMessage, _LETTER))
        .select_from(Subscription)
        .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(
            Subscription.id == _one(OutboxMessage, "subscription_id"),
            Subscription.confirmed_at.is_(None),
            Subscriber.suppressed_at.is_(None),
            allowed,
        )
    )
    return insert.from_select(_LETTER, wanted)


def _proof(insert: Upsert, letter: Select[int]) -> Upsert:
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
