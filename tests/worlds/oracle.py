"""The promises, judged by what the relay saw and what a press room is told; no code is classified.

Recipients who are not sick would be taken by the relay at every try once its moods are over. So
whoever of them follows all the time has each release in the end, or is one of those whom the
bounds put in brackets: these are counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import inf

from sqlalchemy import text

from mailer.domain.releases import receipts
from mailer.domain.releases.receipts import Receipt
from mailer.domain.verp import ReturnPaths
from mailer.errors import NotFound, UnknownMailbox
from mailer.storage.database import read_transaction
from mailer.storage.models import Release, Subscriber, Subscription
from tests.support.press_room import PressRoom
from tests.support.scripted_relay import Answered
from tests.support.world import World
from tests.worlds.plan import OF_RELAY, Plan
from tests.worlds.relay import MoodyRelay

_HOUR = 3600.0
_ENDS_WITHIN_SECONDS = 75 * _HOUR
_LOOKED_UP_SECONDS = 5.0
_AGAIN_SECONDS = 0.9 * _HOUR
_EXPIRED_SECONDS = 48 * _HOUR
_IN_A_ROW = 4
_FEW, _SOME = 20, 5
"""In worlds with fewer than these, all accounts are read one by one; in others, only some."""
_LOOK_EVERY = 25
"""Transactions, in worlds with more followers."""
_STATES = text("SELECT id, state FROM releases")
_HALTED = frozenset({"paused", "stopping", "stopped"})
_RELEASE_LETTERS = b"\r\nPrecedence: list\r\n"
_MESSAGE_ID = re.compile(rb"^Message-ID: (.*)\r$", re.MULTILINE | re.IGNORECASE)
_MAIL_FROM = re.compile(r"MAIL FROM:<([^>]*)>", re.IGNORECASE)


@dataclass
class Halt:
    """A time in which nothing of a release is to be sent, and the connections at its beginning."""

    release_id: int
    writes: int
    """What the clients had written to the relay by then."""
    connections: int
    ended: float = inf


class Oracle:
    """What was promised, and what of it was broken in one world."""

    def __init__(self, running: World, plan: Plan, rooms: list[PressRoom]) -> None:
        assert isinstance(running.relay, MoodyRelay)
        self.broken: list[str] = []
        self.worst: dict[str, float] = {}
        self.brackets: Counter[str] = Counter()
        self.erased: set[str] = set()
        self.confirmed: set[int] = set()
        self.stopped: set[int] = set()
        """The releases that a press officer has stopped: those not reached yet get nothing."""
        self._running, self._plan, self._rooms, self._relay = running, plan, rooms, running.relay
        self._clock = running.clock
        self._paths = ReturnPaths(rooms[0].settings)
        self._read = lru_cache(None)(self._read_sender)
        self._listed: dict[int, set[str]] = {}
        self._left: dict[int, float] = {}
        self._signed_up: list[tuple[str, int]] = []
        self._allowed_copies = 0
        self._at_once: Counter[int] = Counter()
        self._states: dict[int, str] = {}
        self._since: dict[int, float] = {}
        self._halts: list[Halt] = []
        self._accepted: dict[int, int] = {}
        self._of_room: dict[int, PressRoom] = {}
        self._transactions = 0
        self._members = [self._followers(room) for room in rooms]

    # What the story tells.

    def published(self, release_id: int, room: PressRoom) -> None:
        """Note whose release this is."""
        self._of_room[release_id] = room

    def left(self, subscription_id: int) -> None:
        """Note that somebody leaves now."""
        self._left[subscription_id] = self._clock.seconds

    def signed_up(self, who: str, subscription_id: int) -> None:
        """Note that somebody asked for a confirmation."""
        self._signed_up.append((who, subscription_id))

    def disturbed(self, copies: int) -> None:
        """Note what may cost second copies: of one message for each of these connections."""
        self._allowed_copies += copies

    def confirmable(self) -> list[int]:
        """Return the subscriptions of those who have their letter, and have not confirmed."""
        letters = {one.recipient for one in self._relay.taken if not _is_release(one.content)}
        found = [number for who, number in self._signed_up if who in letters]
        return [one for one in found if one not in self._left and one not in self.confirmed]

    def late(self) -> str | None:
        """Return what is wrong if something should have come to its end by now."""
        last = max((self._plan.healthy_from, *self._since.values()))
        hours = (self._clock.seconds - last) / _HOUR
        self._note("hours until a release ends", hours)
        return "it does not end" if hours * _HOUR > _ENDS_WITHIN_SECONDS else None

    # While it goes on.

    def after_transaction(self) -> None:
        """Look, in worlds with more followers at the receipts only now and then."""
        self._transactions += 1
        often = self._plan.followers < _FEW or self._transactions % _LOOK_EVERY == 0
        self.look(receipts_too=often)

    def look(self, *, receipts_too: bool = True) -> None:
        """Check that every receipt balances, and that `accepted` has not fallen."""
        with read_transaction() as session:
            rows = session.execute(_STATES).all()
        for release_id, state in rows:
            before = self._states.get(release_id)
            if state != before:
                self._changed(release_id, state)
            lasts = state not in ("done", "stopped") or state != before
            if receipts_too and lasts and (room := self._of_room.get(release_id)) is not None:
                self._check(release_id, receipts.receipt(room.publisher, release_id))

    def _changed(self, release_id: int, state: str) -> None:
        before, self._states[release_id] = self._states.get(release_id), state
        if state in _HALTED and before not in _HALTED:
            writes, connections = self._relay.writes, len(self._relay.open)
            self._halts.append(Halt(release_id, writes, connections))
        elif state not in _HALTED:
            self._since[release_id] = self._clock.seconds
            for halt in self._halts:
                if halt.release_id == release_id and halt.ended == inf:
                    halt.ended = self._relay.writes

    def _check(self, release_id: int, receipt: Receipt) -> None:
        parts = (receipt.accepted, receipt.refused, receipt.skipped, receipt.deferred)
        if sum(parts) + receipt.waiting != receipt.total or min(*parts, receipt.waiting) < 0:
            self._break("the receipt does not balance")
        if receipt.accepted < self._accepted.get(release_id, 0):
            self._break("accepted has fallen")
        self._accepted[release_id] = receipt.accepted

    # At the end.

    def judge(self) -> None:
        """Judge what the relay has, against what the press rooms are told."""
        self.look()
        copies = self._copies()
        self._judge_halts()
        self._judge_leavings()
        self._judge_copies(copies)
        for number, room in enumerate(self._rooms):
            self._judge_room(room, self._members[number], copies)
        self._judge_people()
        self._judge_signups()
        moods = [one.kind for one in self._plan.events if one.kind in OF_RELAY]
        most = _IN_A_ROW * len(self._running.workers) * len(moods)
        if "flaky" not in moods and any(number > most for number in self._at_once.values()):
            self._break("more than four in a row refused for what everybody was refused for")

    def _judge_halts(self) -> None:
        for halt in self._halts:
            named = sum(
                halt.writes < one.written <= halt.ended
                and self._read(one.sender)[1] == halt.release_id
                for one in self._relay.answered
                if one.stage == "rcpt"
            )
            self._note("named after a halt, for each connection", named / max(1, halt.connections))
            if named > 2 * halt.connections:
                self._break(f"{named} named after a halt, with {halt.connections} connections")

    def _judge_leavings(self) -> None:
        for one in self._relay.taken:
            subscription_id, release_id = self._read(one.sender)
            left = self._left.get(subscription_id or 0)
            if release_id is not None and left is not None and one.began > left:
                self._note("seconds from leaving to the content", one.began - left)
                if one.began > left + _LOOKED_UP_SECONDS:
                    self._break("sent to somebody who has left")

    def _copies(self) -> Counter[tuple[int, str]]:
        """Return how many copies of each release each recipient has."""
        read = ((self._read(one.sender)[1], one.recipient) for one in self._relay.taken)
        return Counter((release_id, who) for release_id, who in read if release_id is not None)

    def _judge_copies(self, copies: Counter[tuple[int, str]]) -> None:
        letters = Counter(
            _MESSAGE_ID.findall(one.content)[0]
            for one in self._relay.taken
            if not _is_release(one.content)
        )
        excess = sum(one - 1 for one in (*copies.values(), *letters.values()))
        unanswered = self._relay.dots - self._relay.dots_answered
        self._note("second copies", excess)
        if excess > self._allowed_copies + unanswered:
            self._break("more second copies than connections were disturbed")

    def _judge_room(
        self, room: PressRoom, members: dict[str, int], copies: Counter[tuple[int, str]]
    ) -> None:
        releases = [one for one in room.rows(Release) if one.publisher_id == room.publisher.id]
        for one in releases:
            listed = self._uncertain(room, one.id)
            twice = {who for who in members if copies[one.id, who] > 1}
            if twice - listed - self.erased:
                self._break("twice and not listed")
        replaced = {one.replaces_id for one in releases}
        for newest in (one for one in releases if one.id not in replaced):
            versions = _versions(newest, releases)
            for who, subscription_id in self._of_interest(members, copies, versions):
                self._judge_recipient(room, versions, who, subscription_id, copies)

    def _of_interest(
        self, members: dict[str, int], copies: Counter[tuple[int, str]], versions: list[Release]
    ) -> Iterable[tuple[str, int]]:
        """Choose recipients: a few, and everybody without a single copy of the newest version."""
        some = _FEW if len(members) < _FEW else _SOME
        for place, (who, subscription_id) in enumerate(members.items()):
            plain = copies[versions[-1].id, who] == 1
            if who not in self.erased and (place < some or not plain):
                yield who, subscription_id

    def _judge_recipient(
        self,
        room: PressRoom,
        versions: list[Release],
        who: str,
        subscription_id: int,
        copies: Counter[tuple[int, str]],
    ) -> None:
        accounts = [_account(room, one.id, who) for one in versions]
        for one, (state, _) in zip(versions, accounts, strict=True):
            has = copies[one.id, who] > 0
            if state == "accepted" and not has:
                self._break("accepted, but not taken")
            if has and state != "accepted" and who not in self._uncertain(room, one.id):
                self._break(f"taken, but {state}")
            if state in ("waiting", "deferred") and one.state == "done":
                self._break(f"done, but {state}")
        if self._relay.is_sick(who) or subscription_id in self._left:
            return
        if self.stopped.isdisjoint(one.id for one in versions):
            self._judge_healthy(versions, accounts, who)

    def _judge_healthy(
        self, versions: list[Release], accounts: list[tuple[str, str | None]], who: str
    ) -> None:
        """Judge who follows all the time, and whom the relay would take."""
        for one, (state, reason) in zip(versions, accounts, strict=True):
            if state == "refused":
                self._judge_refusal(one, who, reason or "")
                return
            if (state, reason) == ("skipped", "unanswered"):
                self.brackets["two unanswered dots"] += 1
                return
        state, reason = accounts[-1]
        had = any(one[0] == "accepted" for one in accounts[:-1])
        if state != "accepted" and (versions[-1].letter != "retraction" or had):
            self._break(f"lost: {state} {reason}")

    def _judge_refusal(self, release: Release, who: str, reason: str) -> None:
        refusals = [one for one in self._answers(release.id, who) if not _good(one)]
        if not refusals:
            self._break("refused without an answer")
            return
        seconds = refusals[-1].at - refusals[0].at
        if reason == "expired":
            self.brackets["given up after 49 hours"] += 1
            if seconds < _EXPIRED_SECONDS:
                self._break("given up too early")
        elif seconds >= _AGAIN_SECONDS:
            self.brackets["refused again an hour or a day later"] += 1
        else:
            self.brackets["up to four in a row, believed at once"] += 1
            self._at_once[release.id] += 1

    def _answers(self, release_id: int, who: str) -> list[Answered]:
        return [
            one
            for one in self._relay.answered
            if one.recipient == who and self._read(one.sender)[1] == release_id
        ]

    def _judge_people(self) -> None:
        for one in self._rooms[0].rows(Subscriber):
            if one.suppressed_at is not None and not self._relay.is_sick(one.address):
                self._break("suppressed, though it is not sick")

    def _judge_signups(self) -> None:
        letters = {one.recipient for one in self._relay.taken if not _is_release(one.content)}
        dots = Counter(
            one.recipient
            for one in self._relay.answered
            if one.stage == "dot" and self._read(one.sender)[1] is None
        )
        for who in {who for who, _ in self._signed_up} - letters - self.erased:
            if dots[who] > 1:
                self.brackets["two unanswered dots of a letter"] += 1
            elif not self._relay.is_sick(who):
                self._break("a sign-up without its letter")

    # What is read.

    def _uncertain(self, room: PressRoom, release_id: int) -> set[str]:
        if release_id not in self._listed:
            self._listed[release_id] = room.uncertain(release_id)
        return self._listed[release_id]

    def _followers(self, room: PressRoom) -> dict[str, int]:
        """Return the subscriptions of those who follow from the beginning, by address."""
        addresses = {one.id: one.address for one in room.rows(Subscriber)}
        return {
            addresses[one.subscriber_id or 0]: one.id
            for one in room.rows(Subscription)
            if one.publisher_id == room.publisher.id
        }

    def _read_sender(self, line: str) -> tuple[int | None, int | None]:
        """Return the subscription and the release of a MAIL command."""
        found = _MAIL_FROM.match(line)
        try:
            path = self._paths.read([found[1]] if found else [])
        except UnknownMailbox:
            return None, None
        return path.subscription_id, path.release_id

    def _note(self, bound: str, value: float) -> None:
        self.worst[bound] = max(value, self.worst.get(bound, value))

    def _break(self, promise: str) -> None:
        if promise not in self.broken:
            self.broken.append(promise)


def _is_release(content: bytes) -> bool:
    return _RELEASE_LETTERS in content


def _good(one: Answered) -> bool:
    return one.answer.reply is None or one.answer.reply[0] in "23"


def _versions(newest: Release, releases: list[Release]) -> list[Release]:
    """Return a release and all that it replaces, oldest first."""
    by_id = {one.id: one for one in releases}
    versions = [newest]
    while versions[0].replaces_id is not None:
        versions.insert(0, by_id[versions[0].replaces_id])
    return versions


def _account(room: PressRoom, release_id: int, who: str) -> tuple[str, str | None]:
    try:
        return room.outcome(release_id, who)
    except NotFound:
        return "no recipient", None
