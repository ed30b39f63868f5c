"""Import and export of a press room's followers as CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.domain.followers.erasure import erased_addresses
from mailer.domain.publishers import by_slug
from mailer.errors import InvalidInput
from mailer.mail.addresses import canonical
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import Consent, Publisher, Subscriber, Subscription
from mailer.storage.sql import insert
from mailer.storage.types import now

COLUMNS = ("address", "confirmed_at", "locale")
_LINES_A_TRANSACTION = 1_000
_EARLIEST_YEAR = 1970

Row = dict[str, str]


class Reader(Protocol):
    """The type of what csv.reader returns."""

    line_num: int

    def __next__(self) -> list[str]:
        """Return the fields of the next line."""
        ...


@dataclass(slots=True)
class ImportReport:
    """Counts of the lines of a file: `added + already + len(refused)` is their number."""

    added: int = 0
    already: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    """The reason for each refused line, by line number; never the address itself."""


@dataclass(frozen=True, slots=True)
class _Follower:
    line: int
    address: str
    confirmed_at: datetime
    locale: str


@dataclass(frozen=True, slots=True)
class _Rules:
    locale: str
    locales: tuple[str, ...]
    smtputf8: bool


def import_followers(
    slug: str,
    lines: Iterable[str],
    *,
    locales: tuple[str, ...],
    smtputf8: bool = True,
    erasure_key: str | None = None,
    progress: Callable[[int], None] = lambda _lines: None,
) -> ImportReport:
    """Import confirmed followers from CSV lines with the columns of COLUMNS.

    Subscribers who have unsubscribed or were erased are refused: only they themselves may sign
    up again. An import that broke off can be repeated. `progress` is called after each
    transaction with the number of its lines. Raises NotFound for the press room, InvalidInput
    for a wrong first line, and Misconfigured if addresses were erased and the key is missing.
    """
    reader = csv.reader(lines, skipinitialspace=True)
    columns = _columns(reader)
    with read_transaction() as session:
        publisher = by_slug(session, slug)
    rules = _Rules(publisher.locale, locales, smtputf8)
    report = ImportReport()
    numbered = _rows(reader, columns)
    while block := list(islice(numbered, _LINES_A_TRANSACTION)):
        followers = list(_valid(block, rules, report))
        with transaction() as session:
            allowed = _not_erased(session, erasure_key, followers, report)
            _add(session, publisher, allowed, report)
        progress(len(block))
    return report


def followers_of(slug: str) -> Iterator[tuple[str, str, str]]:
    """Yield a press room's confirmed and not suppressed followers, with the values of COLUMNS.

    It is one SELECT: the followers at one moment, however long the reading takes. Raises NotFound.
    """
    with read_transaction() as session:
        publisher = by_slug(session, slug)
        rows = session.execute(
            select(Subscriber.address, Subscription.confirmed_at, Subscription.locale)
            .join(Subscription, Subscription.subscriber_id == Subscriber.id)
            .where(
                Subscription.publisher_id == publisher.id,
                Subscription.confirmed_at.is_not(None),
                Subscription.ended_at.is_(None),
                Subscriber.suppressed_at.is_(None),
            )
            .order_by(Subscription.id)
            .execution_options(yield_per=_LINES_A_TRANSACTION)
        )
        for address, confirmed_at, locale in rows:
            yield address, confirmed_at.isoformat() if confirmed_at else "", locale


def _columns(reader: Reader) -> list[str]:
    try:
        columns = [name.strip() for name in next(reader, [])]
    except csv.Error:
        columns = []
    if "address" not in columns or set(columns) - set(COLUMNS):
        raise InvalidInput({"file": f"The first line must name its columns: {', '.join(COLUMNS)}."})
    return columns


def _rows(reader: Reader, columns: list[str]) -> Iterator[tuple[int, Row]]:
    """Yield each line that is not empty, with its line number as a text editor shows it."""
    while True:
        first = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error:  # such as a field beyond csv.field_size_limit()
            yield first, {}
            continue
        if values:
            yield first, dict(zip(columns, values, strict=False))


def _valid(
    block: list[tuple[int, Row]],
    rules: _Rules,
    report: ImportReport,
) -> Iterator[_Follower]:
    """Yield the valid lines, each address once; count the others in the report."""
    seen = set()
    for line, row in block:
        try:
            follower = _follower(line, row, rules)
        except InvalidInput as problem:
            report.refused[line] = str(problem)
            continue
        if follower.address in seen:
            report.already += 1
        else:
            seen.add(follower.address)
            yield follower


def _follower(line: int, row: Row, rules: _Rules) -> _Follower:
    locale = row.get("locale", "").strip() or rules.locale
    if locale not in rules.locales:
        raise InvalidInput({"locale": f"The locale must be one of {', '.join(rules.locales)}."})
    confirmed = row.get("confirmed_at", "").strip()
    try:
        confirmed_at = datetime.fromisoformat(confirmed) if confirmed else now()
    except ValueError:
        confirmed_at = None
    if (
        confirmed_at is None
        or confirmed_at.tzinfo is None
        or confirmed_at.year < _EARLIEST_YEAR
        or confirmed_at > now()
    ):
        raise InvalidInput(
            {"confirmed_at": "Write when it was confirmed as 2026-01-31T12:00:00+01:00."}
        )
    address = canonical(row.get("address", ""), smtputf8=rules.smtputf8)
    return _Follower(line, address, confirmed_at, locale)


def _not_erased(
    session: Session, erasure_key: str | None, followers: list[_Follower], report: ImportReport
) -> list[_Follower]:
    """Return the followers who were not erased; note the others in the report."""
    erased = erased_addresses(session, erasure_key, [one.address for one in followers])
    for follower in followers:
        if follower.address in erased:
            report.refused[follower.line] = "They were forgotten, and only they may come back."
    return [follower for follower in followers if follower.address not in erased]


def _add(
    session: Session, publisher: Publisher, followers: list[_Follower], report: ImportReport
) -> None:
    if not followers:
        return
    people = _people(session, [follower.address for follower in followers])
    ids = [person.id for person in people.values()]
    follows, asked = _subscriptions(session, publisher, ids)
    fresh = []
    for follower in followers:
        person = people[follower.address]
        if person.suppressed_at is not None:
            report.refused[follower.line] = "This mailbox does not exist any more."
        elif person.id not in follows:
            fresh.append((person.id, follower))
        elif follows[person.id]:
            report.already += 1
        elif person.id in asked:
            report.refused[follower.line] = "They were asked to confirm, and have not yet."
        else:
            report.refused[follower.line] = "They have left, and only they may come back."
    _follow(session, publisher, fresh)
    report.added += len(fresh)


def _people(session: Session, addresses: list[str]) -> dict[str, Subscriber]:
    session.execute(
        insert(session, Subscriber).on_conflict_do_nothing(index_elements=["address"]),
        # In one order, since two imports wait for each other's new rows.
        [{"address": address, "created_at": now()} for address in sorted(addresses)],
    )
    found = session.scalars(select(Subscriber).where(Subscriber.address.in_(addresses)))
    return {person.address: person for person in found}


def _subscriptions(
    session: Session, publisher: Publisher, people: list[int]
) -> tuple[dict[int, bool], set[int]]:
    """Return whether each subscriber with a subscription follows, and the set not yet confirmed.

    Both are by subscriber id.
    """
    rows = session.execute(
        select(Subscriber.id, Subscription.confirmed_at, Subscription.ended_at)
        .join(Subscription, Subscription.subscriber_id == Subscriber.id)
        .where(Subscription.publisher_id == publisher.id, Subscriber.id.in_(people))
    )
    follows: dict[int, bool] = {}
    asked = set()
    for person, confirmed_at, ended_at in rows:
        confirmed = confirmed_at is not None and ended_at is None
        follows[person] = follows.get(person, False) or confirmed
        if confirmed_at is None and ended_at is None:
            asked.add(person)
    return follows, asked


def _follow(session: Session, publisher: Publisher, fresh: list[tuple[int, _Follower]]) -> None:
    if not fresh:
        return
    ids = session.scalars(
        insert(session, Subscription)
        .on_conflict_do_nothing()
        .returning(Subscription.__table__.c.id),
        [
            {
                "subscriber_id": person,
                "publisher_id": publisher.id,
                "locale": follower.locale,
                "requested_at": follower.confirmed_at,
                "confirmed_at": follower.confirmed_at,
            }
            for person, follower in fresh
        ],
    ).all()
    if not ids:
        return
    session.execute(
        insert(session, Consent),
        [{"subscription_id": one, "step": "imported", "at": now()} for one in ids],
    )
