"""One press room in this process: what is done to it and what has been written down about it.

    with open_press_room(database_url) as room:
        subscription_id = room.confirmed("kari@example.org")
        release_id = room.publish(title="Skuta er hjemme")
        room.client.post(f"/one-click/{room.tokens.token('one-click', subscription_id)}")

Its methods may be called with and without an application context.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

from flask import Flask, current_app, has_app_context
from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from mailer.app import create_app
from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.branding import Branding
from mailer.domain.followers import address_change, follower_csv, subscriptions
from mailer.domain.followers.subscriptions import Evidence
from mailer.domain.releases import lifecycle, publishing, receipts
from mailer.domain.releases.receipts import Receipt
from mailer.domain.releases.release_body import ReleaseBody, Retraction
from mailer.domain.tokens import Tokens
from mailer.errors import Conflict
from mailer.storage.database import db, read_transaction, transaction
from mailer.storage.models import (
    AddressChange,
    Base,
    Consent,
    OutboxMessage,
    Publisher,
    Release,
    Subscriber,
    Subscription,
    Uncertain,
)
from mailer.storage.types import now
from tests.service import contract
from tests.support.publishing_system import RELEASES
from tests.support.releases import release
from tests.support.signed_links import SignedLinks, look_up

KARI, OLA, ADA = "kari@example.org", "ola@example.org", "ada@example.org"
SLUG = "fjordavisa"
NAME = "Fjord & Fjell <Norge>"
DRAFT = publishers.PublisherDraft(
    SLUG, NAME, "presse@example.org", "nb", "https://example.org/presserom"
)
EVIDENCE = Evidence(language="nb", page="https://follow.example.org/fjordavisa/", network=None)

Rows = dict[str, list[tuple[Any, ...]]]
AnyRoom = TypeVar("AnyRoom", bound="PressRoom")
Arguments = ParamSpec("Arguments")
Model = TypeVar("Model", bound=Base)
T = TypeVar("T")


def in_context(
    method: Callable[Concatenate[AnyRoom, Arguments], T],
) -> Callable[Concatenate[AnyRoom, Arguments], T]:
    """Call a method of a press room in an application context: the one that is open, if any."""

    @wraps(method)
    def wrapped(room: AnyRoom, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> T:
        if has_app_context() and current_app == room.app:
            return method(room, *args, **kwargs)
        with room.app.app_context():
            return method(room, *args, **kwargs)

    return wrapped


@dataclass
class PressRoom:
    """One press room, and the application that serves it."""

    app: Flask
    settings: Settings
    publisher: Publisher
    key: str

    @property
    def tokens(self) -> SignedLinks:
        """What signs links."""
        return SignedLinks(self.settings, self.app)

    @property
    def client(self) -> FlaskClient:
        """A visitor without a past."""
        return self.app.test_client()

    def call(self, method: str, path: str, key: str | None = "", **options: Any) -> TestResponse:
        """Call the API, with the press room's own key, another, or none (None)."""
        own = {"Authorization": f"Bearer {key or self.key}"} if key is not None else {}
        headers = own | options.pop("headers", {})
        return self.client.open(path, method=method, headers=headers, **options)

    def post_release(self, **changes: Any) -> TestResponse:
        """Publish over the API the release that has everything, with some fields changed."""
        return self.call("POST", RELEASES, json=release(**changes))

    def post_body(self, body: bytes, content_type: str = "application/json") -> TestResponse:
        """Publish over the API whatever these bytes are."""
        return self.call("POST", RELEASES, data=body, content_type=content_type)

    @in_context
    def add_key(self, scope: Literal["read", "publish"]) -> str:
        """Make another API key."""
        return publishers.add_key(SLUG, scope)

    def send_follow_form(self, address: str, **fields: str) -> TestResponse:
        """Send the form of the press room's page."""
        data = {"address": address, "locale": "nb", **fields}
        return self.client.post(f"/{SLUG}/follow", data=data)

    @in_context
    def change_branding(self, /, **branding: Any) -> None:
        """Change what readers see of the press room."""
        publishers.change(SLUG, cast(Branding, branding))

    @in_context
    def sign_up(self, address: str = KARI, locale: str = "nb", slug: str = SLUG) -> int:
        """Sign up, and return the id of the open subscription."""
        evidence = Evidence(language=locale, page=EVIDENCE.page, network=None)
        subscriptions.sign_up(self.settings, publishers.find(slug), address, evidence)
        return self.open_subscriptions(address, slug)[0]

    @in_context
    def confirmed(self, address: str = KARI, locale: str = "nb") -> int:
        """Sign up and confirm; returns the subscription's id."""
        subscription_id = self.sign_up(address, locale)
        subscriptions.confirm(self.settings, subscription_id, EVIDENCE)
        return subscription_id

    @in_context
    def ended(self, address: str = KARI) -> int:
        """Sign up, confirm and unsubscribe; returns the subscription's id."""
        subscription_id = self.confirmed(address)
        self.unsubscribe(subscription_id)
        return subscription_id

    @in_context
    def unsubscribe(self, subscription_id: int) -> None:
        """End a subscription."""
        subscriptions.unsubscribe(self.settings, subscription_id, EVIDENCE)

    @in_context
    def ask_to_move(self, subscription_id: int, address: str, *, everywhere: bool = False) -> str:
        """Ask for another address; returns the token of the link that is mailed there."""
        answer = address_change.ask_to_move(
            self.settings, subscription_id, address, everywhere=everywhere
        )
        assert answer == "asked"
        return self.move_token()

    @in_context
    def move_token(self, number: int = -1) -> str:
        """Sign the link of a change of address, the newest unless told."""
        change = self.rows(AddressChange)[number]
        return Tokens(self.settings).token("move", change.id, change.nonce)

    @in_context
    def add_followers(self, *addresses: str) -> None:
        """Import followers, who have confirmed long ago."""
        lines = ["address", *addresses]
        report = follower_csv.import_followers(SLUG, lines, locales=("nb", "nn", "en"))
        assert report.added == len(addresses), report

    @in_context
    def publish(self, /, **fields: Any) -> int:
        """Publish a release; returns its id."""
        content = {
            "reference": secrets.token_hex(8),
            "language": "nb",
            "title": "Skuta er hjemme",
            "body_html": "<p>Skuta ligger ved kai.</p>",
            "again": True,
            **fields,
        }
        body = ReleaseBody.read(content)
        return publishing.publish(self.settings, self.publisher, body).id

    @in_context
    def correct(self, /, release_id: int, **fields: Any) -> int:
        """Put a better version in the place of a release; returns its id."""
        body = ReleaseBody.read({**self.release(release_id).content, **fields})
        return publishing.correct(self.settings, self.publisher, release_id, body).id

    @in_context
    def retract(self, release_id: int, note: str | None = None) -> int:
        """Take a release back; returns the id of what is in its place."""
        retraction = Retraction(note=note)
        return publishing.retract(self.settings, self.publisher, release_id, retraction).id

    @in_context
    def stop(self, release_id: int) -> str:
        """Stop a release, and return its state."""
        return lifecycle.stop(self.publisher, release_id).state

    @in_context
    def resume(self, release_id: int) -> str:
        """Resume a release, and return its state."""
        return lifecycle.resume(self.settings, self.publisher, release_id).state

    @in_context
    def pause(self, release_id: int) -> None:
        """Pause a release, as what finds a mistake does."""
        with transaction() as session:
            lifecycle.pause(session, release_id, "A test pauses it.")

    @in_context
    def release(self, release_id: int) -> Release:
        """Return a release as it is now."""
        return lifecycle.find(self.publisher, release_id)

    @in_context
    def receipt(self, release_id: int) -> Receipt:
        """Return the receipt of a release, which always balances."""
        receipt = receipts.receipt(self.publisher, release_id)
        parts = (receipt.accepted, receipt.refused, receipt.skipped, receipt.deferred)
        assert receipt.total == sum(parts) + receipt.waiting, receipt
        assert min(*parts, receipt.waiting) >= 0, receipt
        return receipt

    @in_context
    def recipient(self, release_id: int, address: str) -> dict[str, Any]:
        """Return what became of one recipient of a release."""
        return receipts.recipient(self.publisher, release_id, address)

    def outcome(self, release_id: int, address: str) -> tuple[str, str | None]:
        """Return the state of one recipient of a release, and its reason."""
        found = self.recipient(release_id, address)
        return found["state"], found["reason"]

    @in_context
    def uncertain(self, release_id: int) -> set[str]:
        """Return who may have a release twice, as the account of each recipient says."""
        with read_transaction() as session:
            listed = set(
                session.scalars(
                    select(Subscriber.address)
                    .join(Subscription, Subscription.subscriber_id == Subscriber.id)
                    .join(Uncertain, Uncertain.subscription_id == Subscription.id)
                    .where(Uncertain.release_id == release_id)
                )
            )
        assert all(self.recipient(release_id, one)["uncertain"] for one in listed)
        return listed

    @in_context
    def suppress(self, address: str) -> None:
        """Note that a mailbox does not exist."""
        with transaction() as session:
            session.execute(
                update(Subscriber)
                .where(Subscriber.address == address)
                .values(suppressed_at=now(), suppressed_by=0)
            )

    @in_context
    def erase(self, subscription_id: int) -> None:
        """Leave the bare row of a subscription, without its person."""
        with transaction() as session:
            session.get_one(Subscription, subscription_id).subscriber_id = None

    @in_context
    def view(self, subscription_id: int) -> tuple[bool, bool]:
        """Tell whether a subscription is confirmed, and whether it has ended."""
        found = look_up(subscription_id)
        return found.confirmed, found.ended

    @in_context
    def subscription(self, address: str) -> Subscription:
        """Return the only subscription of an address."""
        with read_transaction() as session:
            return session.scalars(
                select(Subscription)
                .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
                .where(Subscriber.address == address)
            ).one()

    @in_context
    def open_subscriptions(self, address: str, slug: str = SLUG) -> list[int]:
        """Return the ids of the open subscriptions of an address."""
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

    @in_context
    def letters(self, *kinds: str) -> list[str]:
        """Return the kinds of all outbox messages, or only of these kinds, oldest first."""
        with read_transaction() as session:
            found = session.scalars(select(OutboxMessage.kind).order_by(OutboxMessage.id))
            return [kind for kind in found if not kinds or kind in kinds]

    @in_context
    def consents(self, subscription_id: int | None = None) -> list[Consent]:
        """Return all consent rows, or those of one subscription, oldest first."""
        query = select(Consent).order_by(Consent.id)
        if subscription_id is not None:
            query = query.where(Consent.subscription_id == subscription_id)
        with read_transaction() as session:
            return list(session.scalars(query))

    def steps(self, subscription_id: int | None = None) -> list[str]:
        """Return the steps of those consent rows."""
        return [one.step for one in self.consents(subscription_id)]

    @in_context
    def rows(self, table: type[Model]) -> list[Model]:
        """Return all rows of a table in the order of their keys."""
        with read_transaction() as session:
            return list(session.scalars(select(table).order_by(*table.__table__.primary_key)))

    @in_context
    def count(self, table: type[Base]) -> int:
        """Count the rows of a table."""
        with read_transaction() as session:
            return session.scalars(select(func.count()).select_from(table)).one()

    @in_context
    def everything(self) -> Rows:
        """Return all rows of all tables."""
        return everything()


def everything() -> Rows:
    """Return all rows of all tables; needs an application context."""
    with read_transaction() as session:
        return {
            table.name: [
                tuple(row) for row in session.execute(select(table).order_by(*table.primary_key))
            ]
            for table in Base.metadata.sorted_tables
        }


def make_app(database_url: str, **variables: str) -> tuple[Flask, Settings]:
    """Make the application without Redis; `variables` are beside the contract's, or in its place.

    An exception that it does not handle ends the test.
    """
    environment = contract(database_url=database_url, redis_url="", smtp_url="smtp://127.0.0.1")
    settings = Settings.from_environment(environment | variables)
    app = create_app(settings)
    app.testing = True
    return app, settings


@contextmanager
def open_press_room(database_url: str, **variables: str) -> Iterator[PressRoom]:
    """Serve a migrated database without Redis, and open its press room if it is not there yet."""
    with serve(*make_app(database_url, **variables)) as room:
        yield room


@contextmanager
def serve(app: Flask, settings: Settings) -> Iterator[PressRoom]:
    """Open the press room of an application if it is not there yet, and disconnect at the end."""
    with app.app_context():
        try:
            key = publishers.add(DRAFT)
        except Conflict:
            key = publishers.add_key(SLUG)
        publisher = publishers.find(SLUG)
    try:
        yield PressRoom(app, settings, publisher, key)
    finally:
        with app.app_context():
            db.engine.dispose()
