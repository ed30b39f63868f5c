"""The people, the press room and the release that the tests are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Flask
from sqlalchemy import func, select, update

from mailer.app import create_app
from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.followers import subscriptions
from mailer.domain.followers.subscriptions import Evidence
from mailer.domain.publishers import PublisherDraft
from mailer.storage.database import db, read_transaction, transaction
from mailer.storage.models import (
    Base,
    Consent,
    OutboxMessage,
    Publisher,
    Subscriber,
    Subscription,
)
from mailer.storage.types import now
from tests.service import contract

KARI, OLA, ADA = "kari@example.org", "ola@example.org", "ada@example.org"
SLUG = "fjordavisa"
ROOM = PublisherDraft(SLUG, "Fjordavisa", "presse@example.org", "nb")
PROOF = Evidence(language="nb", page="https://follow.example.org/fjordavisa/", network=None)

RELEASE: dict[str, Any] = {
    "reference": "blabaer-2026",
    "language": "nb",
    "title": "Rekordår for blåbær på Sørøya",
    "lead": "Aldri før er det plukket så mye.",
    "body_html": "<p>SØRØYA — Bøttene er fulle.</p>",
    "image": {
        "url": "https://example.org/blabaer.jpg",
        "alt": "En bøtte med blåbær",
        "width": 1200,
        "height": 800,
        "caption": "Årets første bøtte.",
        "credit": "Ola Nordmann",
    },
    "images": [{"url": "https://example.org/baer.jpg", "alt": "Bær", "credit": "Kari Nordmann"}],
    "source": {"text": "Sørøya bærlag", "url": "https://example.org/"},
    "keywords": ["bær", "høst"],
    "contacts": [{"name": "Ada Ås", "title": "leder", "email": ADA, "phone": "+47 00 00 00 00"}],
    "documents": [{"title": "Tall (PDF)", "url": "https://example.org/tall.pdf", "size": 340_000}],
    "web_url": "https://example.org/blabaer",
}

TimePasses = Callable[[timedelta], None]


def release(**changes: Any) -> dict[str, Any]:
    """Write the release with some fields changed."""
    return {**RELEASE, **changes}


@dataclass(frozen=True)
class PressRoom:
    """One press room on a database of its own, and what has been written down about it."""

    app: Flask
    settings: Settings
    publisher: Publisher

    def sign_up(self, address: str, slug: str = SLUG) -> int:
        """Sign up, and return the id of the open subscription."""
        subscriptions.sign_up(self.settings, publishers.find(slug), address, PROOF)
        return self.open_subscriptions(address, slug)[0]

    def follow(self, address: str) -> int:
        """Sign up and confirm."""
        subscription_id = self.sign_up(address)
        subscriptions.confirm(self.settings, subscription_id, PROOF)
        return subscription_id

    def leave(self, subscription_id: int) -> None:
        """Unsubscribe."""
        subscriptions.unsubscribe(self.settings, subscription_id, PROOF)

    def suppress(self, address: str) -> None:
        """Note that a mailbox does not exist."""
        with transaction() as session:
            session.execute(
                update(Subscriber).where(Subscriber.address == address).values(suppressed_at=now())
            )

    def open_subscriptions(self, address: str, slug: str = SLUG) -> list[int]:
        """Give the ids of the open subscriptions of an address."""
        with read_transaction() as session:
            found = session.scalars(
                select(Subscription.id)
                .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
                .join(Publisher, Publisher.id == Subscription.publisher_id)
                .where(
                    Subscriber.address == address,
                    Publisher.slug == slug,
                    Subscription.ended_at.is_(None),
                )
            )
            return list(found)

    def letters(self, *kinds: str) -> list[str]:
        """Give the kinds of all letters in the outbox, or only of these kinds, oldest first."""
        with read_transaction() as session:
            found = session.scalars(select(OutboxMessage.kind).order_by(OutboxMessage.id))
            return [kind for kind in found if not kinds or kind in kinds]

    def proofs(self, subscription_id: int) -> list[str]:
        """Give the steps of a subscription that are proven, oldest first."""
        with read_transaction() as session:
            query = select(Consent.step).where(Consent.subscription_id == subscription_id)
            return list(session.scalars(query.order_by(Consent.id)))

    def count(self, table: type[Base]) -> int:
        """Count the rows of a table."""
        with read_transaction() as session:
            return session.scalars(select(func.count()).select_from(table)).one()


@contextmanager
def press_room(database_url: str, **variables: str) -> Iterator[PressRoom]:
    """Open the press room on a migrated database, without Redis, inside an app context."""
    environment = contract(database_url=database_url, redis_url="", smtp_url="smtp://127.0.0.1")
    settings = Settings.from_environment(environment | variables)
    app = create_app(settings)
    with app.app_context():
        publishers.add(ROOM)
        try:
            yield PressRoom(app, settings, publishers.find(SLUG))
        finally:
            db.engine.dispose()
