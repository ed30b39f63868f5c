"""The generation of the database: a number that only an older copy of it has lower.

It counts under a random name. Every process remembers the highest number that it has read or told.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, select, update
from sqlalchemy.orm import Session

from mailer.storage.models import Generation

_NAME_OCTETS = 16
_ONE = Generation.id == 1
_READ = select(Generation.name, Generation.number).where(_ONE)
_remembered: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Numbered:
    """A name, and how far it has counted."""

    name: str
    number: int


def read(connection: Connection) -> Numbered:
    """Return the generation as the database has it."""
    row = connection.execute(_READ).one()
    return Numbered(row.name, row.number)


def raise_number(session: Session) -> Numbered:
    """Raise the number in this transaction, whose last lock this has to be."""
    raised = update(Generation).where(_ONE).values(number=Generation.number + 1)
    row = session.execute(raised.returning(Generation.name, Generation.number)).one()
    return Numbered(row.name, row.number)


def name_anew(session: Session, found: Numbered) -> Numbered | None:
    """Give the database another name, so that it and any copy of it count apart.

    Returns None if another process has done so since it was found under that name.
    """
    named = Numbered(secrets.token_hex(_NAME_OCTETS), found.number)
    named_so = update(Generation).where(_ONE, Generation.name == found.name)
    changed = session.scalar(named_so.values(name=named.name).returning(Generation.id))
    return None if changed is None else named


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
