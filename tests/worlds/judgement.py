"""The promises, judged at the end of a world by what the relay saw and a press room is told.

No code of the relay is sorted here. Recipients who are not sick would be taken by the relay at
every try once its moods are over. So whoever of them follows all the time has each release in the
end, or is one of those whom the bounds put in brackets: these are counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from mailer.domain.tokens import NonceOf
from mailer.domain.verp import ReturnPaths
from mailer.errors import NotFound, UnknownMailbox
from mailer.storage.models import Release, Subscriber, Subscription
from tests.support.press_room import PressRoom
from tests.support.scripted_relay import Answered, Taken
from tests.support.virtual_time import BEGINNING
from tests.worlds.plan import OF_RELAY
from tests.worlds.watch import FEW, Follower, Watch, is_release

_LOOKED_UP_SECONDS = 5.0
_AGAIN_SECONDS = 0.9 * 3600
_EXPIRED_SECONDS = 48 * 3600
_CLOCKS_SECONDS = 2 * 3600
"""More than a machine's clock may be wrong in these worlds."""
_IN_A_ROW = 4
_SOME = 5
"""In worlds with more followers, so many accounts are read that look plain at the relay."""
_LATE_HOURS = 3.0
"""A letter with an older Date is marked by SpamAssassin (DATE_IN_PAST_03_06)."""
_DATE = re.compile(rb"^Date: (.*)\r$", re.MULTILINE | re.IGNORECASE)
_MESSAGE_ID = re.compile(rb"^Message-ID: (.*)\r$", re.MULTILINE | re.IGNORECASE)
_MAIL_FROM = re.compile(r"MAIL FROM:<([^>]*)>", re.IGNORECASE)

Account = tuple[str, str | None]


class Judgement:
    """What became of the promises in one world."""

    def __init__(self, watch: Watch) -> None:
        self.brackets: Counter[str] = Counter()
        """The healthy recipients who have not got a release, by the bracket that allows it."""
        self._watch, self._relay = watch, watch.relay
        paths = ReturnPaths(watch.rooms[0].settings)
        nonces = {one.id: one.nonce for one in watch.rooms[0].rows(Subscription)}
        self._read = lru_cache(None)(lambda line: _read(paths, nonces.get, line))
        self._listed: dict[int, set[str]] = {}
        self._at_once: Counter[int] = Counter()
        self._copies = Counter(
            (release_id, one.recipient)
            for one in self._relay.taken
            if (release_id := self._read(one.sender)[1]) is not None
        )

    def judge(self) -> None:
        """Judge everything."""
        self._watch.look()
        self._judge_halts()
        self._judge_leavings()
        self._judge_copies()
        for room in self._watch.rooms:
            self._judge_room(room)
        self._judge_at_once()
        self._judge_suppressed()
        self._judge_signups()

    def _judge_halts(self) -> None:
        for halt in self._watch.halts:
            named = sum(
                halt.writes < one.written <= halt.ended
                and self._read(one.sender)[1] == halt.release_id
                for one in self._relay.answered
                if one.stage == "rcpt"
            )
            each = named / max(1, halt.connections)
            self._watch.note("named after a halt, for each connection", each)
            if named > 2 * halt.connections:
                self._watch.breaks("more than two for each connection named after a halt")

    def _judge_leavings(self) -> None:
        for one in self._relay.taken:
            subscription_id, release_id = self._read(one.sender)
            left = self._watch.left.get(subscription_id or 0)
            if release_id is not None and left is not None and one.began > left:
                self._watch.note("seconds from leaving to the content", one.began - left)
                if one.began > left + _LOOKED_UP_SECONDS:
                    self._watch.breaks("sent to somebody who has left")

    def _judge_copies(self) -> None:
        letters = Counter(
            _MESSAGE_ID.findall(one.content)[0] for one in self._relay.taken if not is_release(one)
        )
        second = sum(one - 1 for one in (*self._copies.values(), *letters.values()))
        unanswered = self._relay.dots - self._relay.dots_answered
        self._watch.note("second copies", second)
        if second > self._watch.allowed_copies + unanswered:
            self._watch.breaks("more second copies than connections were disturbed")

    def _judge_room(self, room: PressRoom) -> None:
        releases = [one for one in room.rows(Release) if one.publisher_id == room.publisher.id]
        for one in releases:
            twice = {
                who
                for (number, who), copies in self._copies.items()
                if number == one.id and copies > 1
            }
            if twice - self._uncertain(room, one.id) - self._watch.erased:
                self._watch.breaks("twice and not listed")
            self._judge_dates(one.id, self._uncertain(room, one.id) | self._watch.erased)
        replaced = {one.replaces_id for one in releases}
        for newest in (one for one in releases if one.id not in replaced):
            versions = _versions(newest, releases)
            for follower in self._of_interest(room, versions):
                self._judge_recipient(follower, versions)

    def _judge_dates(self, release_id: int, may_have: set[str]) -> None:
        """Judge that copies have one Date, and that it is not old but for who may have had one."""
        dates: dict[int | None, bytes] = {}
        for one in self._relay.taken:
            subscription_id, number = self._read(one.sender)
            if number == release_id:
                date = _DATE.findall(one.content)[0]
                if dates.setdefault(subscription_id, date) != date:
                    self._watch.breaks("a second copy with another Date")
                if one.recipient not in may_have:
                    self._judge_age(one, parsedate_to_datetime(date.decode()))

    def _judge_age(self, taken: Taken, date: datetime) -> None:
        hours = (taken.began - (date - BEGINNING).total_seconds()) / 3600
        self._watch.note("hours from the Date to the content", hours)
        if hours > _LATE_HOURS:
            self._watch.breaks("sent with an old Date")

    def _of_interest(self, room: PressRoom, versions: list[Release]) -> Iterator[Follower]:
        """Choose recipients: a few, and everybody without a single copy of the newest version."""
        frozen = next((one.frozen_at for one in versions if one.frozen_at is not None), None)
        if frozen is None:
            return
        until = (frozen - BEGINNING).total_seconds() - _CLOCKS_SECONDS
        some = FEW if self._watch.plan.followers < FEW else _SOME
        for follower in self._watch.followers:
            known = follower.address not in self._watch.erased
            if follower.room is room and known and follower.since < until:
                some -= 1
                if some >= 0 or self._copies[versions[-1].id, follower.address] != 1:
                    yield follower

    def _judge_recipient(self, follower: Follower, versions: list[Release]) -> None:
        room, who = follower.room, follower.address
        accounts = [_account(room, one.id, who) for one in versions]
        for one, (state, _) in zip(versions, accounts, strict=True):
            has = self._copies[one.id, who] > 0
            if state == "accepted" and not has:
                self._watch.breaks("accepted, but not taken")
            if has and state != "accepted" and who not in self._uncertain(room, one.id):
                self._watch.breaks(f"taken, but {state}")
            if state in ("waiting", "deferred") and one.state == "done":
                self._watch.breaks(f"done, but {state}")
        left = follower.subscription_id in self._watch.left
        stopped = self._watch.stopped.intersection(one.id for one in versions)
        if not (left or stopped or self._relay.is_sick(who)):
            self._judge_healthy(who, versions, accounts)

    def _judge_healthy(self, who: str, versions: list[Release], accounts: list[Account]) -> None:
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
            self._watch.breaks(f"lost: {state} {reason}")

    def _judge_refusal(self, release: Release, who: str, reason: str) -> None:
        refusals = [
            one
            for one in self._relay.answered
            if one.recipient == who
            and self._read(one.sender)[1] == release.id
            and not _is_good(one)
        ]
        seconds = refusals[-1].at - refusals[0].at if refusals else 0.0
        if not refusals:
            self._watch.breaks("refused without an answer")
        elif reason == "expired":
            self.brackets["given up after 49 hours"] += 1
            if seconds < _EXPIRED_SECONDS:
                self._watch.breaks("given up too early")
        elif seconds >= _AGAIN_SECONDS:
            self.brackets["refused again an hour or a day later"] += 1
        else:
            self.brackets["up to four in a row, believed at once"] += 1
            self._at_once[release.id] += 1

    def _judge_at_once(self) -> None:
        """Check how many were refused at once; in a flaky mood each is alone with it."""
        moods = [one.kind for one in self._watch.plan.events if one.kind in OF_RELAY]
        most = _IN_A_ROW * len(self._watch.running.workers) * len(moods)
        if "flaky" not in moods and any(number > most for number in self._at_once.values()):
            self._watch.breaks("refused for what everybody was refused for")

    def _judge_suppressed(self) -> None:
        for one in self._watch.rooms[0].rows(Subscriber):
            if one.suppressed_at is not None and not self._relay.is_sick(one.address):
                self._watch.breaks("suppressed, though it is not sick")

    def _judge_signups(self) -> None:
        letters = {one.recipient for one in self._relay.taken if not is_release(one)}
        dots = Counter(
            one.recipient
            for one in self._relay.answered
            if one.stage == "dot" and self._read(one.sender)[1] is None
        )
        asked = {one.address for one in self._watch.signed_up}
        for who in asked - letters - self._watch.erased:
            if dots[who] > 1:
                self.brackets["two unanswered dots of a letter"] += 1
            elif not self._relay.is_sick(who):
                self._watch.breaks("a sign-up without its letter")

    def _uncertain(self, room: PressRoom, release_id: int) -> set[str]:
        if release_id not in self._listed:
            self._listed[release_id] = room.uncertain(release_id)
        return self._listed[release_id]


def _read(paths: ReturnPaths, nonce_of: NonceOf, line: str) -> tuple[int | None, int | None]:
    """Return the subscription and the release of a MAIL command."""
    found = _MAIL_FROM.match(line)
    try:
        path = paths.read([found[1]] if found else [], nonce_of)
    except UnknownMailbox:
        return None, None
    return path.subscription_id, path.release_id


def _is_good(one: Answered) -> bool:
    return one.answer.reply is None or one.answer.reply[0] in "23"


def _versions(newest: Release, releases: list[Release]) -> list[Release]:
    """Return a release and all that it replaces, oldest first."""
    by_id = {one.id: one for one in releases}
    versions = [newest]
    while versions[0].replaces_id is not None:
        versions.insert(0, by_id[versions[0].replaces_id])
    return versions


def _account(room: PressRoom, release_id: int, who: str) -> Account:
    try:
        return room.outcome(release_id, who)
    except NotFound:
        return "no recipient", None
