"""The generation of the database: a number that only an older copy of it has lower.

It counts under a random name. Every process remembers the highest number that it has read or told.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.orm import Session

from mailer.storage.database import identity
from mailer.storage.models import Generation

_NAME_OCTETS = 16
_ONE = Generation.id == 1
_COLUMNS = (Generation.name, Generation.number, Generation.database_identity)
_READ = select(*_COLUMNS).where(_ONE)
_RAISE = update(Generation).where(_ONE).values(number=Generation.number + 1).returning(*_COLUMNS)
_SETTLE = update(Generation).where(_ONE, Generation.database_identity.is_(None))
_remembered: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Numbered:
    """A name, and how far it has counted."""

    name: str
    number: int
    here: bool = True
    """Whether this physical database was given the name: a copy of it may count beside it."""


def read(connection: Connection) -> Numbered:
    """Return the generation as the database has it."""
    return _numbered(connection, connection.execute(_READ).one())


def raise_number(session: Session) -> Numbered:
    """Raise the number in this transaction, whose last lock this has to be."""
    return _numbered(session.connection(), session.execute(_RAISE).one())


def rename(session: Session, found: Numbered) -> Numbered | None:
    """Give this physical database a name of its own, so that no copy of it counts with it.

    Returns None if another process has done so since it was found under that name.
    """
    named = Numbered(secrets.token_hex(_NAME_OCTETS), found.number)
    here = {"name": named.name, "database_identity": identity(session.connection())}
    named_so = update(Generation).where(_ONE, Generation.name == found.name).values(here)
    changed = session.scalar(named_so.returning(Generation.id))
    return None if changed is None else named


def settle(session: Session) -> None:
    """Note that this physical database has the name, if none was noted since it was made."""
    session.execute(_SETTLE.values(database_identity=identity(session.connection())))


def _numbered(connection: Connection, row: Row[str, int, str | None]) -> Numbered:
    here = row.database_identity in (None, identity(connection))
    return Numbered(row.name, row.number, here)


def remember(told: Numbered) -> None:
    """Remember a number that is committed."""
    _remembered[told.name] = max(told.number, remembered(told.name))


def remembered(name: str) -> int:
    """Return the highest number of a name that this process knows, 0 if it knows none."""
    return _remembered.get(name, 0)


def is_current(found: Numbered) -> bool:
    """Tell whether what was read is no older than what this process knows; then remember it."""
    if found.number < remembered(found.name):
        return False
    remember(found)
    return True
