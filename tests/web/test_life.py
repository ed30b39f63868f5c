"""The life of one person with two press rooms, in random order: the promises hold after each step.

`LIFE_STEPS` says how many steps are tried on each kind of database, `LIFE_SEED` where to begin.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
from sqlalchemy import delete, select

from mailer.domain import publishers
from mailer.domain.followers import erasure, follower_csv, links, subscriptions
from mailer.domain.verp import ReturnPaths
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import OutboxMessage, Publisher, SignUp, Subscriber, Subscription
from tests.conftest import on_both_databases
from tests.support.press_room import DRAFT, EVIDENCE, KARI, SLUG, PressRoom, open_press_room
from tests.support.signed_links import nonce_of

STEPS = int(os.environ.get("LIFE_STEPS", "250"))
SEED = int(os.environ.get("LIFE_SEED", "1"))
SLUGS = (SLUG, "fjellavisa")
Way = Literal["page", "one-click", "mailto"]


@dataclass(frozen=True)
class Letter:
    """A letter that the person has kept: its press room, and the row that its links are for."""

    slug: str
    subscription_id: int
    kind: str


@dataclass
class Life:
    """A person, the letters in the mailbox, and which press rooms they follow."""

    room: PressRoom
    choose: random.Random
    letters: list[Letter] = field(default_factory=list)
    follows: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(SLUGS, False))
    read: set[str] = field(default_factory=set)

    def step(self) -> str:
        """Do something at random; returns what."""
        acts: list[Callable[[], str]] = [
            *(self.follow, self.follow, self.confirm, self.confirm, self.leave, self.leave),
            *(self.undo, self.pause, self.bring, self.suppress, self.erase),
        ]
        told = self.choose.choice(acts)()
        self.open_mailbox()
        return told

    def open_mailbox(self) -> None:
        """Keep what has come since the last look."""
        with read_transaction() as session:
            rows = session.execute(
                select(
                    OutboxMessage.message_id, OutboxMessage.kind, Subscription.id, Publisher.slug
                )
                .join(Subscription, Subscription.id == OutboxMessage.subscription_id)
                .join(Publisher, Publisher.id == Subscription.publisher_id)
                .order_by(OutboxMessage.id)
            ).all()
        for message_id, kind, subscription_id, slug in rows:
            if message_id not in self.read:
                self.read.add(message_id)
                self.letters.append(Letter(slug, subscription_id, kind))

    def letter(self, kind: str | None = None) -> Letter | None:
        """Take out any letter, of any age."""
        kept = [one for one in self.letters if kind in (None, one.kind)]
        return self.choose.choice(kept) if kept else None

    def follow(self) -> str:
        slug = self.choose.choice(SLUGS)
        # These limits, too, have tests of their own.
        with transaction() as session:
            session.execute(delete(SignUp))
        before = len(self.letters)
        answer = self.room.client.post(f"/{slug}/follow", data={"address": KARI, "locale": "nb"})
        assert answer.status_code == 202
        self.open_mailbox()
        kinds = [letter.kind for letter in self.letters[before:]]
        if not self.is_suppressed():
            assert kinds == ["following" if self.follows[slug] else "confirm"]
        return f"follow {slug}"

    def confirm(self) -> str:
        letter = self.letter("confirm")
        if letter is None:
            return "nothing to confirm"
        is_open = self.is_open(letter)
        answer = self.post("confirm", letter)
        assert answer == 200
        if is_open:
            self.follows[letter.slug] = True
            assert not self.is_suppressed()
        return f"confirm {letter}"

    def leave(self) -> str:
        letter, way = self.letter(), self.choice_of_way()
        if letter is None:
            return "no letter"
        if way == "mailto":
            settings = self.room.settings.model_copy(update={"mail_domain": "in.example.org"})
            one = letter.subscription_id
            address = ReturnPaths(settings).address("unsubscribe", one, nonce=nonce_of(one))
            _, view = links.opened_by_mail(settings, [address])
            subscriptions.unsubscribe(settings, view.id, EVIDENCE, "mailto")
        else:
            page = "unsubscribe" if way == "page" else "one-click"
            assert self.post(page, letter) == 200
        if self.is_ours(letter):
            self.follows[letter.slug] = False
            assert not self.open_rows(letter.slug), "who pressed a way out is out"
        return f"leave by {way} {letter}"

    def undo(self) -> str:
        letter = self.letter()
        if letter is None or not self.is_ours(letter):
            return "nothing to undo"
        assert self.post("unsubscribe", letter, action="undo") == 200
        rows = self.open_rows(letter.slug)
        self.follows[letter.slug] = any(one.confirmed_at is not None for one in rows)
        assert rows, "an undo brings the newest back"
        return f"undo {letter}"

    def pause(self) -> str:
        letter = self.letter()
        if letter is None:
            return "no letter"
        assert self.post("manage", letter, pause=self.choose.choice(["2", "4", "13"])) == 200
        if self.is_ours(letter) and self.choose.random() < 0.5:
            assert self.post("manage", letter, **{"take-up": "now"}) == 200
            assert not any(one.paused_until for one in self.open_rows(letter.slug))
        return f"pause {letter}"

    def bring(self) -> str:
        slug = self.choose.choice(SLUGS)
        key = self.room.settings.erasure_key
        report = follower_csv.import_followers(
            slug, ["address", KARI], locales=("nb",), erasure_key=key
        )
        self.follows[slug] |= bool(report.added)
        return f"import {slug}: {report}"

    def suppress(self) -> str:
        self.room.suppress(KARI)
        return "suppress"

    def erase(self) -> str:
        if self.choose.random() < 0.7:
            return "no erasure"
        with read_transaction() as session:
            theirs = select(Subscription.id).join(Subscriber)
            one = session.scalar(theirs.where(Subscriber.address == KARI).limit(1))
        if one is not None:
            erasure.erase_subscriber_of(self.room.settings, one)
            self.follows = dict.fromkeys(SLUGS, False)
        return "erase"

    def choice_of_way(self) -> Way:
        ways: tuple[Way, ...] = ("page", "one-click", "mailto")
        return self.choose.choice(ways)

    def post(self, page: str, letter: Letter, **fields: str) -> int:
        purpose = {"manage": "unsubscribe"}.get(page, page)
        token = self.room.tokens.token(purpose, letter.subscription_id)  # type: ignore[arg-type]
        return self.room.client.post(f"/{page}/{token}", data=fields).status_code

    def is_suppressed(self) -> bool:
        return any(one.suppressed_at is not None for one in self.room.rows(Subscriber))

    def is_ours(self, letter: Letter) -> bool:
        """Whether the row of a letter still has its person."""
        with read_transaction() as session:
            return session.get_one(Subscription, letter.subscription_id).subscriber_id is not None

    def is_open(self, letter: Letter) -> bool:
        """Whether there is something that a letter could confirm."""
        return self.is_ours(letter) and bool(self.open_rows(letter.slug))

    def open_rows(self, slug: str) -> list[Subscription]:
        ids = set(self.room.open_subscriptions(KARI, slug))
        return [one for one in self.room.rows(Subscription) if one.id in ids]

    def judge(self) -> None:
        """See that what was promised holds."""
        for slug in SLUGS:
            rows = self.open_rows(slug)
            assert len(rows) <= 1
            assert any(one.confirmed_at is not None for one in rows) == self.follows[slug], slug
        letter = self.letter()
        if letter is not None:
            way_out = self.room.tokens.token("unsubscribe", letter.subscription_id)
            assert self.room.client.get(f"/unsubscribe/{way_out}").status_code == 200


@pytest.fixture
def room(database_url: str) -> Iterator[PressRoom]:
    """A press room without limits, which are another matter."""
    limits = ("A_MINUTE", "A_MINUTE_IN_ALL", "AN_HOUR_FOR_ADDRESS", "AN_HOUR_FOR_PRESS_ROOM")
    unlimited = {f"MAILER_FOLLOWS_{limit}": "100000" for limit in limits}
    with open_press_room(database_url, **unlimited) as room:
        yield room


@on_both_databases
def test_whatever_order_life_takes_the_promises_hold(room: PressRoom) -> None:
    with room.app.app_context():
        publishers.add(replace(DRAFT, slug="fjellavisa"))
        life = Life(room, random.Random(SEED))
        told: list[str] = []
        for number in range(STEPS):
            try:
                told.append(life.step())
                life.judge()
            except AssertionError:
                lately = "\n".join(told[-12:])
                pytest.fail(f"seed {SEED}, step {number}, after:\n{lately}")
            if number % 50 == 49:
                # A new life: what is kept of letters would only grow.
                life.letters = life.letters[-20:]
