"""A route that inserts the rows of a sign-up and does nothing else, to be measured against.

    gunicorn "tests.benchmarks.bare:create_app()"

It takes any text for an address and any number of sign-ups, tells who is known, and has no page.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from flask import Flask, request
from sqlalchemy import create_engine, insert

from mailer.storage.database import begin
from mailer.storage.models import Consent, OutboxMessage, Subscriber, Subscription


def create_app() -> Flask:
    """Build the application; there is one press room, with the number 1."""
    app = Flask("bare")
    engine = create_engine(os.environ["DATABASE_URL"])

    @app.get("/healthz")
    def healthy() -> str:
        return "yes"

    @app.post("/follow")
    def follow() -> tuple[str, int]:
        now, message_id = datetime.now(UTC), f"{os.urandom(16).hex()}@example.org"
        with engine.connect() as connection, begin(connection):
            person = connection.execute(
                insert(Subscriber).values(address=request.form["address"], created_at=now)
            ).inserted_primary_key
            assert person
            subscription = connection.execute(
                insert(Subscription).values(
                    subscriber_id=person[0],
                    publisher_id=1,
                    locale=request.form["locale"],
                    requested_at=now,
                )
            ).inserted_primary_key
            assert subscription
            about = {"subscription_id": subscription[0], "message_id": message_id}
            connection.execute(
                insert(OutboxMessage).values(kind="confirm", created_at=now, **about)
            )
            connection.execute(
                insert(Consent).values(
                    step="requested",
                    at=now,
                    wording="follow-1",
                    language=request.form["locale"],
                    page=request.url,
                    network="127.0.0.0/24",
                    **about,
                )
            )
        return "Thanks!", 202

    return app
