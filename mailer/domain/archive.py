"""The archive: every release of a press room that may be read, each in its newest version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CompoundSelect, case, func, literal, select, union_all

from mailer.domain.publishers import by_slug
from mailer.domain.reading import changed_at, is_newest, newest_first
from mailer.errors import NotFound
from mailer.storage.database import reading
from mailer.storage.models import Publisher, Release


@dataclass(frozen=True, slots=True)
class Page:
    """A press room, and some of its releases, newest first."""

    publisher: Publisher
    number: int
    releases: Sequence[Release]
    more: bool
    """Whether there are older ones."""

    @property
    def changed_at(self) -> datetime:
        """The moment of the last change to what it lists."""
        return max(map(changed_at, self.releases), default=self.publisher.created_at)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something may be read: the page of a press room, or of one of its releases."""

    slug: str
    release_id: int | None
    changed_at: datetime


def page(slug: str, size: int, number: int = 1) -> Page:
    """Return a page of a press room's releases, counted from 1.

    Raises NotFound, also for a page beyond the last.
    """
    with reading() as session:
        publisher = by_slug(session, slug)
        some = newest_first(publisher).offset((number - 1) * size).limit(size + 1)
        found = session.scalars(some).all()
    if number > 1 and not found:
        raise NotFound(f"There is no page {number}.")
    return Page(publisher, number, found[:size], more=len(found) > size)


def places(number: int, size: int) -> Sequence[Place]:
    """Return a part, counted from 1, of all that may be read and is not withdrawn."""
    some = _places().order_by("release_id", "slug").offset((number - 1) * size).limit(size)
    with reading() as session:
        return [
            Place(row.slug, row.release_id or None, row.changed_at) for row in session.execute(some)
        ]


def count_places() -> int:
    """Return how many places there are."""
    with reading() as session:
        return session.scalars(select(func.count()).select_from(_places().subquery())).one()


def _places() -> CompoundSelect[Any]:
    came = case(
        (Release.created_at > Release.published_at, Release.created_at), else_=Release.published_at
    )
    return union_all(
        select(
            Publisher.slug,
            literal(0).label("release_id"),
            Publisher.created_at.label("changed_at"),
        ),
        select(Publisher.slug, Release.id, came)
        .join(Publisher, Publisher.id == Release.publisher_id)
        .where(is_newest(), Release.letter != "retraction"),
    )
