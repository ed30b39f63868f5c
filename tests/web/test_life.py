"""The life of one person with two mailboxes and two press rooms: random steps, kept promises.

`LIFE_LIVES` says how many lives are led on each kind of database, each of 250 steps, and
`LIFE_SEED` which is the first: one in the suite, eighty with `make lives`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

import pytest
from sqlalchemy import delete, select

from mailer.domain import publishers
from mailer.domain.followers import erasure, follower_csv, links, subscriptions
from mailer.domain.tokens import Tokens
from mailer.domain.verp import ReturnPaths
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import (
    AddressChange,
    MovingSubscription,
    OutboxMessage,
    Publisher,
    SignUp,
    Subscriber,
    Subscription,
)
from tests.conftest import on_both_databases
from tests.support.press_room import DRAFT, EVIDENCE, KARI, SLUG, PressRoom, open_press_room
from tests.support.signed_links import nonce_of

STEPS = 250
FIRST = int(os.environ.get("LIFE_SEED", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("LIFE_LIVES", "1")))
FORMER = "presse.example.org"
SLUGS = (SLUG, "fjellavisa")
MAILBOXES = (KARI, "kari@new.example.org")
PAIRS = list(product(MAILBOXES, SLUGS))
Pair = tuple[str | None, str]
Way = Literal["page", "one-click", "mailto"]


@dataclass
class Letter:
    """A letter that the person has kept: the row that its links are for, and whose that is now.

    `mailbox` is None once the person was erased there.
    """

    mailbox: str | None
    slug: str
    subscription_id: int
    kind: str
    move: Move | None = None


@dataclass
class Move:
    """A change of address, and the rows that it is about, each with whether it was open."""

    change: AddressChange
    asker: str
    """Whose wish it is; whose way back it is."""
    rows: dict[int, bool]
    merged: dict[str, bool] = field(default_factory=dict)
    """By press room: whether the new mailbox followed it already."""
    done: bool = False
    void: bool = False


@dataclass
class Life:
    """A person, the letters in the mailboxes, and which press rooms are followed from which."""

    room: PressRoom
    choose: random.Random
    letters: list[Letter] = field(default_factory=list)
    follows: dict[Pair, bool] = field(default_factory=lambda: dict.fromkeys(PAIRS, False))
    left: set[Pair] = field(default_factory=set)
    """Where the last thing was that a follower left."""
    read: set[str] = field(default_factory=set)

    def step(self) -> str:
        """Do something at random; returns what."""
        acts: list[Callable[[], str]] = [
            *(self.follow, self.follow, self.confirm, self.confirm, self.leave, self.leave),
            *(self.undo, self.pause, self.bring, self.suppress, self.erase),
            *(self.ask_to_move, self.move, self.move),
        ]
        told = self.choose.choice(acts)()
        self.open_mailbox()
        return told

    def open_mailbox(self) -> None:
        """Keep what has come since the last look."""
        with read_transaction() as session:
            rows = session.execute(
                select(OutboxMessage, Publisher.slug, Subscriber.address, AddressChange)
                .join(Subscription, Subscription.id == OutboxMessage.subscription_id)
                .join(Publisher, Publisher.id == Subscription.publisher_id)
                .outerjoin(Subscriber, Subscriber.id == Subscription.subscriber_id)
                .outerjoin(AddressChange, AddressChange.id == OutboxMessage.address_change_id)
                .where(OutboxMessage.finished_at.is_(None))
                .order_by(OutboxMessage.id)
            ).all()
        for letter, slug, mailbox, change in rows:
            if letter.message_id not in self.read:
                self.read.add(letter.message_id)
                move = self.move_of(change) if letter.address_change_id else None
                one = Letter(mailbox, slug, letter.subscription_id or 0, letter.kind, move)
                self.letters.append(one)

    def move_of(self, change: AddressChange) -> Move:
        people = {one.id: one.address for one in self.room.rows(Subscriber)}
        rows = {
            one.subscription_id: one.goes_on
            for one in self.room.rows(MovingSubscription)
            if one.address_change_id == change.id
        }
        return Move(change, people[change.subscriber_id], rows)

    def letter(self, kind: str | None = None) -> Letter | None:
        """Take out any letter, of any age."""
        kept = [one for one in self.letters if kind in (None, one.kind)]
        return self.choose.choice(kept) if kept else None

    def follow(self) -> str:
        mailbox, slug = pair = self.choose.choice(PAIRS)
        self.forget_limits()
        before = len(self.letters)
        answer = self.room.client.post(f"/{slug}/follow", data={"address": mailbox, "locale": "nb"})
        assert answer.status_code == 202
        self.open_mailbox()
        self.left.discard(pair)
        kinds = [letter.kind for letter in self.letters[before:]]
        if not self.is_suppressed(mailbox):
            assert kinds == ["following" if self.follows[pair] else "confirm"]
        return f"follow {pair}"

    def forget_limits(self) -> None:
        """These, too, have tests of their own."""
        with transaction() as session:
            session.execute(delete(SignUp))

    def confirm(self) -> str:
        letter = self.letter("confirm")
        if letter is None:
            return "nothing to confirm"
        is_open = self.is_open(letter)
        answer = self.post("confirm", letter)
        assert answer == 200
        if letter.mailbox and is_open:
            self.follows[letter.mailbox, letter.slug] = True
            assert not self.is_suppressed(letter.mailbox)
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
        if letter.mailbox:
            pair = letter.mailbox, letter.slug
            if self.follows[pair]:
                self.left.add(pair)
            self.follows[pair] = False
            assert not self.open_rows(*pair), "who pressed a way out is out"
        return f"leave by {way} {letter}"

    def undo(self) -> str:
        letter = self.letter()
        if letter is None or letter.mailbox is None:
            return "nothing to undo"
        assert self.post("unsubscribe", letter, action="undo") == 200
        pair = letter.mailbox, letter.slug
        rows = self.open_rows(*pair)
        self.follows[pair] = any(one.confirmed_at is not None for one in rows)
        assert rows, "an undo brings the newest back"
        assert self.follows[pair] or pair not in self.left, "who undoes follows again"
        self.left.discard(pair)
        return f"undo {letter}"

    def pause(self) -> str:
        letter = self.letter()
        if letter is None:
            return "no letter"
        assert self.post("manage", letter, pause=self.choose.choice(["2", "4", "13"])) == 200
        if letter.mailbox and self.choose.random() < 0.5:
            assert self.post("manage", letter, **{"take-up": "now"}) == 200
            rows = self.open_rows(letter.mailbox, letter.slug)
            assert not any(one.paused_until for one in rows)
        return f"pause {letter}"

    def bring(self) -> str:
        mailbox, slug = pair = self.choose.choice(PAIRS)
        key = self.room.settings.erasure_key
        report = follower_csv.import_followers(
            slug, ["address", mailbox], locales=("nb",), erasure_key=key
        )
        self.follows[pair] |= bool(report.added)
        self.left -= {pair} if report.added else set()
        return f"import {pair}: {report}"

    def suppress(self) -> str:
        mailbox = self.choose.choice(MAILBOXES)
        self.room.suppress(mailbox)
        return f"suppress {mailbox}"

    def ask_to_move(self) -> str:
        letter, new = self.letter(), self.choose.choice(MAILBOXES)
        if letter is None:
            return "no letter"
        self.forget_limits()
        before = len(self.letters)
        wide = {"everywhere": "1"} if self.choose.random() < 0.5 else {}
        pairs = [(letter.mailbox, slug) for slug in (SLUGS if wide else [letter.slug])]
        follows = any(self.follows.get(pair) for pair in pairs)
        assert self.post("manage", letter, address=new, **wide) == 200
        self.open_mailbox()
        kinds = [one.kind for one in self.letters[before:]]
        asked = follows and not self.is_suppressed(new)
        assert kinds == ["move"] * asked
        return f"ask to move {letter} to {new} {wide}"

    def move(self) -> str:
        letter = self.choose.choice([*(one for one in self.letters if one.move), None])
        if letter is None or letter.move is None:
            return "no letter"
        move = letter.move
        rows = {one.id: one for one in self.room.rows(Subscription) if one.id in move.rows}
        token = Tokens(self.room.settings).token("move", move.change.id, move.change.nonce)
        assert self.press(f"/move/{token}") == (400 if move.void else 200)
        if not (move.void or move.done):
            (self.has_gone_back if move.change.is_way_back else self.has_moved)(move, rows)
        return f"move {letter}"

    def has_moved(self, move: Move, rows: dict[int, Subscription]) -> None:
        """Expect what the asker still followed at the new mailbox, and the way back in a letter."""
        asker, new = move.asker, move.change.address
        people = {one.id: one.address for one in self.room.rows(Subscriber)}
        theirs = [one for one in rows.values() if one.ended_at is None]
        theirs = [one for one in theirs if one.subscriber_id == move.change.subscriber_id]
        move.done = asker == new or bool(theirs)
        if asker == new or not theirs:
            return
        assert people[move.change.subscriber_id] == asker, "an import still knows the old address"
        merged: dict[str, bool] = {}
        for slug in map(self.slug_of, theirs):
            merged[slug] = self.follows[new, slug]
            assert self.follows[asker, slug]
            self.follows[asker, slug], self.follows[new, slug] = False, True
            self.left -= {(asker, slug), (new, slug)}
            for one in self.letters:
                if (one.mailbox, one.slug) == (asker, slug):
                    one.mailbox = new
        assert not self.is_suppressed(new)
        before = len(self.letters)
        self.open_mailbox()
        for letter in self.letters[before:]:
            assert letter.move is not None
            assert letter.move.change.is_way_back
            letter.move.merged = merged

    def has_gone_back(self, move: Move, rows: dict[int, Subscription]) -> None:
        """Expect all that had moved at the old mailbox, and nothing else that was there."""
        people = {one.id: one.address for one in self.people}
        home = move.asker
        here = [one for one in rows.values() if one.subscriber_id is not None]
        move.done = bool(here)
        for one in here:
            holder, slug = people[one.subscriber_id or 0], self.slug_of(one)
            if move.rows[one.id]:
                if holder != home and one.ended_at is None:
                    self.follows[holder, slug] = move.merged.get(slug, False)
                self.left -= {(holder, slug), (home, slug)}
                self.follows[home, slug] = True
        for letter in self.letters:
            if letter.mailbox and letter.subscription_id in {one.id for one in here}:
                letter.mailbox = home
            other = letter.move
            if other and here and other.change.id > move.change.id:
                other.void |= bool(other.rows.keys() & {one.id for one in here})

    @property
    def people(self) -> list[Subscriber]:
        return self.room.rows(Subscriber)

    def slug_of(self, one: Subscription) -> str:
        [slug] = [room.slug for room in self.room.rows(Publisher) if room.id == one.publisher_id]
        return slug

    def erase(self) -> str:
        if self.choose.random() < 0.7:
            return "no erasure"
        mailbox = self.choose.choice(MAILBOXES)
        with read_transaction() as session:
            theirs = select(Subscription.id).join(Subscriber)
            one = session.scalar(theirs.where(Subscriber.address == mailbox).limit(1))
        if one is not None:
            erasure.erase_subscriber_of(self.room.settings, one)
            for slug in SLUGS:
                self.follows[mailbox, slug] = False
                self.left.discard((mailbox, slug))
            for letter in self.letters:
                if letter.move and mailbox in (letter.move.asker, letter.move.change.address):
                    letter.move.void = True
                if letter.mailbox == mailbox:
                    letter.mailbox = None
        return f"erase {mailbox}"

    def choice_of_way(self) -> Way:
        ways: tuple[Way, ...] = ("page", "one-click", "mailto")
        return self.choose.choice(ways)

    def post(self, page: str, letter: Letter, **fields: str) -> int:
        purpose = {"manage": "unsubscribe"}.get(page, page)
        token = self.room.tokens.token(purpose, letter.subscription_id)  # type: ignore[arg-type]
        return self.press(f"/{page}/{token}", fields)

    def press(self, path: str, fields: dict[str, str] | None = None) -> int:
        """Press a button of a link, whose host may be a former one; returns the status."""
        host = self.choose.choice(["localhost", FORMER])
        return self.room.client.post(path, base_url=f"https://{host}", data=fields).status_code

    def is_suppressed(self, mailbox: str) -> bool:
        people = [one for one in self.room.rows(Subscriber) if one.address == mailbox]
        return any(one.suppressed_at is not None for one in people)

    def is_open(self, letter: Letter) -> bool:
        """Whether there is something that a letter could confirm."""
        return letter.mailbox is not None and bool(self.open_rows(letter.mailbox, letter.slug))

    def open_rows(self, mailbox: str, slug: str) -> list[Subscription]:
        ids = set(self.room.open_subscriptions(mailbox, slug))
        return [one for one in self.room.rows(Subscription) if one.id in ids]

    def judge(self) -> None:
        """See that what was promised holds."""
        for pair in PAIRS:
            rows = self.open_rows(*pair)
            assert len(rows) <= 1
            assert any(one.confirmed_at is not None for one in rows) == self.follows[pair], pair
        letter = self.letter()
        if letter is not None:
            way_out = self.room.tokens.token("unsubscribe", letter.subscription_id)
            assert self.room.client.get(f"/unsubscribe/{way_out}").status_code == 200


@pytest.fixture
def room(database_url: str) -> Iterator[PressRoom]:
    """A press room without limits, which are another matter."""
    limits = ("A_MINUTE", "A_MINUTE_IN_ALL", "AN_HOUR_FOR_ADDRESS", "AN_HOUR_FOR_PRESS_ROOM")
    unlimited = {f"MAILER_FOLLOWS_{limit}": "100000" for limit in limits}
    with open_press_room(database_url, MAILER_FORMER_HOSTS=FORMER, **unlimited) as room:
        yield room


@on_both_databases
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_order_life_takes_the_promises_hold(room: PressRoom, seed: int) -> None:
    with room.app.app_context():
        publishers.add(replace(DRAFT, slug="fjellavisa"))
        life = Life(room, random.Random(seed))
        told: list[str] = []
        for number in range(STEPS):
            try:
                told.append(life.step())
                life.judge()
            except AssertionError:
                lately = "\n".join(told[-12:])
                pytest.fail(f"seed {seed}, step {number}, after:\n{lately}")
            if number % 50 == 49:
                # A new life: what is kept of letters would only grow.
                life.letters = life.letters[-20:]
