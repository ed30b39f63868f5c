"""The service with one press room, and what a test of its pages wants to do and to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from threading import Thread
from typing import Any, cast

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import TestResponse

from mailer.app import create_app
from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.branding import Branding
from mailer.domain.followers import subscriptions
from mailer.domain.followers.subscriptions import Evidence
from mailer.domain.releases import lifecycle, publishing
from mailer.domain.releases.release_body import ReleaseBody
from mailer.domain.tokens import Tokens
from mailer.storage.database import db, read_transaction, transaction
from mailer.storage.models import Base, Subscriber, Subscription
from mailer.storage.types import now
from tests.service import contract

SLUG = "fjordavisa"
ROOM = f"/{SLUG}/"
FOLLOW = f"/{SLUG}/follow"
NAME = "Fjord & Fjell <Norge>"
ROOM_DRAFT = publishers.PublisherDraft(
    slug=SLUG,
    name=NAME,
    from_address="presse@example.org",
    locale="nb",
    website_url="https://example.org/presserom",
)
PROOF = Evidence(language="nb", page="test", network=None)
FORM = "application/x-www-form-urlencoded"

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Site:
    """One press room behind a test client."""

    app: Flask
    settings: Settings
    links: Tokens

    @property
    def client(self) -> FlaskClient:
        """A visitor without a past."""
        return self.app.test_client()

    def follow(self, address: str, **fields: str) -> TestResponse:
        """Send the follow box."""
        return self.client.post(FOLLOW, data={"address": address, "locale": "nb", **fields})

    def requested(self, address: str = "kari@example.org", locale: str = "nb") -> int:
        """Return the id of a subscription that waits for its confirmation."""
        with self.app.app_context():
            proof = Evidence(language=locale, page="test", network=None)
            subscriptions.sign_up(self.settings, publishers.find(SLUG), address, proof)
            with read_transaction() as session:
                newest = select(Subscription.id).order_by(Subscription.id.desc()).limit(1)
                return session.scalars(newest).one()

    def confirmed(self, address: str = "kari@example.org", locale: str = "nb") -> int:
        """Return the id of a confirmed subscription."""
        subscription_id = self.requested(address, locale)
        with self.app.app_context():
            subscriptions.confirm(self.settings, subscription_id, PROOF)
        return subscription_id

    def ended(self, address: str = "kari@example.org") -> int:
        """Return the id of a subscription that was confirmed and has ended."""
        subscription_id = self.confirmed(address)
        with self.app.app_context():
            subscriptions.unsubscribe(self.settings, subscription_id, PROOF)
        return subscription_id

    def publish(self, **fields: Any) -> int:
        """Publish a release, and return its id."""
        content = {
            "reference": "skuta",
            "language": "nb",
            "title": "Skuta er hjemme",
            "body_html": "<p>Den ligger ved kai.</p>",
            **fields,
        }
        with self.app.app_context():
            body = ReleaseBody.read(content)
            return publishing.publish(self.settings, publishers.find(SLUG), body).id

    def correct(self, release_id: int, **fields: Any) -> int:
        """Put a better version in the place of a release, and return its id."""
        with self.app.app_context():
            publisher = publishers.find(SLUG)
            content = lifecycle.find(publisher, release_id).content
            body = ReleaseBody.read({**content, **fields})
            return publishing.correct(self.settings, publisher, release_id, body).id

    def retract(self, release_id: int, note: str) -> int:
        """Take a release back, and return the id of what is in its place."""
        with self.app.app_context():
            publisher = publishers.find(SLUG)
            return publishing.retract(self.settings, publisher, release_id, note).id

    def add_branding(self, **branding: Any) -> None:
        """Change what readers see of the press room."""
        with self.app.app_context():
            publishers.change(SLUG, cast(Branding, branding))

    def suppress(self, address: str) -> None:
        """Note that a mailbox does not exist."""
        with self.app.app_context(), transaction() as session:
            session.execute(
                update(Subscriber).where(Subscriber.address == address).values(suppressed_at=now())
            )

    def erase(self, subscription_id: int) -> None:
        """Leave the bare row of a subscription, without its person."""
        with self.app.app_context(), transaction() as session:
            session.get_one(Subscription, subscription_id).subscriber_id = None

    def view(self, subscription_id: int) -> tuple[bool, bool]:
        """Tell whether a subscription is confirmed, and whether it has ended."""
        with self.app.app_context():
            found = subscriptions.look_up(subscription_id)
        return found.confirmed, found.ended

    def rows(self) -> Rows:
        """Return everything in the database."""
        with self.app.app_context(), read_transaction() as session:
            return {
                table.name: [
                    tuple(row)
                    for row in session.execute(select(table).order_by(*table.primary_key))
                ]
                for table in Base.metadata.sorted_tables
            }

    def consents(self) -> list[tuple[Any, ...]]:
        """Return the step, language, page and network of every consent."""
        table = Base.metadata.tables["consents"]
        columns = [table.c[name] for name in ("step", "language", "page", "network")]
        with self.app.app_context(), read_transaction() as session:
            found = session.execute(select(*columns).order_by(table.c.id))
            return [tuple(row) for row in found]


@contextmanager
def answering(app: Callable[..., Iterable[bytes]], port: int) -> Iterator[None]:
    """Let browsers reach an application, as long as the context lasts."""
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Silent)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing."""


def text(response: TestResponse) -> str:
    """Return a page with its entities read."""
    return unescape(response.get_data(as_text=True))


@contextmanager
def open_site(database_url: str, *, branded: bool = False, **variables: str) -> Iterator[Site]:
    """Build the service on a migrated database, and open its press room."""
    environment = contract(database_url=database_url, redis_url="", smtp_url="smtp://127.0.0.1")
    settings = Settings.from_environment(environment | variables)
    app = create_app(settings)
    with app.app_context():
        if not branded:
            publishers.add(ROOM_DRAFT)
    try:
        yield Site(app, settings, Tokens(settings))
    finally:
        with app.app_context():
            db.engine.dispose()
