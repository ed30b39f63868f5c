"""Press rooms, and the API keys of their publishing systems."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from mailer.domain.branding import Branding, BrandingField, checked
from mailer.domain.outbox import NO_NOTICES
from mailer.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthorized
from mailer.mail.addresses import canonical
from mailer.mail.content import PressRoom
from mailer.storage.database import autocommit, transaction
from mailer.storage.models import ApiKey, Publisher
from mailer.storage.types import now

Scope = Literal["publish", "read"]

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,78}[a-z0-9])?")
_RESERVED = {
    *("api", "console", "healthz", "metrics", "readyz", "robots", "sitemap", "static"),
    *("confirm", "manage", "move", "one-click", "privacy", "unsubscribe", "why", "your-data"),
}
_SLUG_PROBLEM = (
    'Use small letters, digits and hyphens. Reserved words such as "api" cannot be used. '
    "Try oya-kommune, for example."
)
_KEY_OCTETS = 32


@dataclass(frozen=True, slots=True)
class PublisherDraft:
    """The values of a press room that is to be created."""

    slug: str
    name: str
    from_address: str
    locale: str
    website_url: str | None = None
    hold_minutes: int = 0
    logo_url: str | None = None
    accent: str | None = None
    about: str | None = None
    contacts: Sequence[Mapping[str, Any]] | None = None
    privacy: str | None = None


def add(draft: PublisherDraft) -> str:
    """Create a press room and return its first API key, of which only a digest is kept.

    Raises InvalidInput for an unusable value, Conflict if the slug is taken.
    """
    if not _SLUG.fullmatch(draft.slug) or draft.slug in _RESERVED:
        raise InvalidInput({"slug": _SLUG_PROBLEM})
    publisher = Publisher(
        slug=draft.slug,
        # ASCII before the @, too: a mail server without SMTPUTF8 would refuse every letter.
        from_address=canonical(draft.from_address, smtputf8=False),
        locale=draft.locale,
        hold_minutes=draft.hold_minutes,
        created_at=now(),
        **checked({field: getattr(draft, field) for field in get_args(BrandingField)}),
    )
    try:
        with transaction() as session:
            session.add(publisher)
            session.flush()
            return _new_key(session, publisher, "publish")
    except IntegrityError:
        raise Conflict(f"There is a press room called {draft.slug} already.") from None


def change(slug: str, branding: Branding, notices: str | None = None) -> None:
    """Change what readers see of a press room; the value None clears a field.

    `notices` is the address told when a release pauses itself, `none` for no notices, or ""
    for the sender. Pages, and letters composed from then on, show the change. Raises NotFound and
    InvalidInput.
    """
    kept: dict[str, Any] = dict(checked(branding).items())
    if notices is not None:
        kept["notices"] = _notices(notices)
    with transaction() as session:
        publisher = by_slug(session, slug)
        for field, value in kept.items():
            setattr(publisher, field, value)


def add_key(slug: str, scope: Scope = "publish") -> str:
    """Add an API key and return it, so that keys can be changed without a gap. Raises NotFound."""
    with transaction() as session:
        return _new_key(session, by_slug(session, slug), scope)


def by_slug(session: Session, slug: str) -> Publisher:
    """Return a press room; raises NotFound."""
    # PostgreSQL refuses NUL even in the parameter of a SELECT.
    slug = slug if _SLUG.fullmatch(slug) else ""
    publisher = session.scalar(select(Publisher).where(Publisher.slug == slug))
    if publisher is None:
        raise NotFound("There is no press room by that name.")
    return publisher


def every() -> Sequence[Publisher]:
    """Return all press rooms, by their names."""
    with autocommit() as session:
        return session.scalars(select(Publisher).order_by(Publisher.name, Publisher.id)).all()


def find(slug: str) -> Publisher:
    """Return a press room, read in a session of its own; raises NotFound."""
    with autocommit() as session:
        return by_slug(session, slug)


def authenticate(key: str | None, scope: Scope) -> Publisher:
    """Return the press room that an API key belongs to. Raises Unauthorized or Forbidden.

    Keys are random and 256 bits long, so the digest may be looked up by an index: the timing of
    the lookup does not help to find a valid key.
    """
    if not key:
        raise Unauthorized("Send the API key as 'Authorization: Bearer …'.")
    with autocommit() as session:
        found = session.execute(
            select(ApiKey.scope, Publisher)
            .join(Publisher, Publisher.id == ApiKey.publisher_id)
            .where(ApiKey.digest == _digest(key))
        ).one_or_none()
    if found is None:
        raise Unauthorized("This API key is not known.")
    if scope == "publish" and found.scope != "publish":
        raise Forbidden("This API key may only read.")
    publisher: Publisher = found.Publisher
    return publisher


def press_room_of(publisher: Publisher, base_url: str) -> PressRoom:
    """Return what letters need of a press room; `base_url` is the address of the service."""
    host = urlsplit(base_url).hostname or "localhost"
    return PressRoom(
        name=publisher.name,
        from_address=publisher.from_address,
        locale=publisher.locale,
        page_url=f"{base_url}/{publisher.slug}/",
        website_url=publisher.website_url,
        list_id=f"{publisher.slug}.{host}",
        logo_url=publisher.logo_url,
        accent=publisher.accent,
    )


def _notices(notices: str) -> str | None:
    if notices in ("", NO_NOTICES):
        return notices or None
    # As the sender of letters: a mail server without SMTPUTF8 would refuse every notice.
    return canonical(notices, smtputf8=False)


def _new_key(session: Session, publisher: Publisher, scope: Scope) -> str:
    key = f"mailer_{secrets.token_urlsafe(_KEY_OCTETS)}"
    session.add(
        ApiKey(publisher_id=publisher.id, digest=_digest(key), scope=scope, created_at=now())
    )
    return key


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()
