"""How often one may sign up: from one network and in all, for one address, domain and room."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from flask import Flask
from redis import Redis as Client
from werkzeug.test import TestResponse

from mailer.domain import publishers
from mailer.domain.followers import subscriptions
from mailer.storage.types import now
from tests.conftest import Databases
from tests.servers import Redis
from tests.service import application, contract
from tests.support.press_room import DRAFT, EVIDENCE, Rows, everything
from tests.web.pages import FOLLOW

OTHER = publishers.PublisherDraft("fjellavisa", "Fjellavisa", "presse@example.org", "nb")


@dataclass(frozen=True)
class Signups:
    """The follow boxes of two press rooms, and whoever comes to them."""

    app: Flask

    def follow(
        self, address: str = "kari@example.org", *, at: str = "192.0.2.1", path: str = FOLLOW
    ) -> TestResponse:
        """Sign up from an IP address."""
        return self.app.test_client().post(
            path, data={"address": address}, environ_base={"REMOTE_ADDR": at}
        )

    def confirm(self, address: str) -> None:
        """Confirm the newest sign-up of an address."""
        with self.app.app_context():
            rows = everything()
            [subscriber] = [row[0] for row in rows["subscribers"] if row[1] == address]
            one = max(row[0] for row in rows["subscriptions"] if row[1] == subscriber)
            subscriptions.confirm(self.app.extensions["settings"], one, EVIDENCE)

    def rows(self) -> Rows:
        """Return everything in the database."""
        with self.app.app_context():
            return everything()

    def statuses(self, *networks: str) -> list[int]:
        """Sign up once from each of these IP addresses, each time for somebody else."""
        return [
            self.follow(f"kari{number}@example.org", at=address).status_code
            for number, address in enumerate(networks)
        ]


@contextmanager
def signups(environment: dict[str, str], **limits: int) -> Iterator[Signups]:
    """Open two press rooms with these limits."""
    variables = {f"MAILER_FOLLOWS_{name}": str(number) for name, number in limits.items()}
    with application(environment | variables) as app:
        for draft in (DRAFT, OTHER):
            publishers.add(draft)
        yield Signups(app)


@pytest.fixture
def plain(databases: Databases, redis: Redis) -> Iterator[dict[str, str]]:
    """An environment for what does not depend on the kind of database."""
    with databases.fresh("sqlite") as url:
        yield contract(database_url=url, redis_url=redis.url, smtp_url="smtp://127.0.0.1")


def test_beyond_its_limit_a_network_waits_for_its_letters_and_is_told_how_long(
    environment: dict[str, str],
) -> None:
    with signups(environment, A_MINUTE=2) as there:
        began = now().timestamp() * 1000
        texts = [there.follow(f"kari{one}@example.org").text for one in range(5)]
        waits = [row[8] for row in there.rows()["outbox"]]
        elsewhere = there.follow("ola@example.org", at="198.51.100.1").text
    assert [re.findall(r"om (?:cirka )?(\S+) minutt", text) for text in texts] == [
        *([], [], ["1"], ["1"], ["2"])
    ]
    assert waits[:2] == [None, None]
    assert [round((wait - began) / 30_000) for wait in waits[2:]] == [1, 2, 3]
    assert "Mange melder seg" not in elsewhere


def test_two_hundred_of_a_network_wait_and_others_do_not(plain: dict[str, str]) -> None:
    with signups(plain, A_MINUTE=1, A_MINUTE_IN_ALL=1_000) as there:
        answers = there.statuses(*["192.0.2.1"] * 202, "198.51.100.1")
        retry = there.follow().headers["Retry-After"]
    assert answers == [*[202] * 201, 429, 202]
    assert int(retry) > 0


def test_an_office_of_two_hundred_has_its_letters_within_twenty_minutes(
    plain: dict[str, str],
) -> None:
    with signups(plain, A_MINUTE=10) as there:
        began = now().timestamp() * 1000
        assert set(there.statuses(*["192.0.2.1"] * 200)) == {202}
        waits = [row[8] for row in there.rows()["outbox"]]
    assert len(waits) == 200
    assert max(wait for wait in waits if wait) - began < 20 * 60_000


@pytest.mark.parametrize(
    ("networks", "waiting"),
    [
        ([f"192.0.2.{one}" for one in range(1, 13)], 2),
        ([f"2001:db8:0:1::{one}" for one in range(1, 4)], 2),
        ([f"2001:db8:0:{one}::1" for one in range(1, 6)], 2),
        ([f"2001:db8:0:{one * 256:x}::1" for one in range(1, 13)], 2),
        ([f"2001:db8:{one}::1" for one in range(1, 13)], 0),
        ([f"::ffff:192.0.2.{one}" for one in range(1, 13)], 2),
    ],
    ids=["/24", "/64", "/56", "/48", "beyond", "mapped"],
)
def test_the_limit_grows_with_the_size_of_the_network(
    plain: dict[str, str], networks: list[str], waiting: int
) -> None:
    with signups(plain, A_MINUTE=1) as there:
        assert set(there.statuses(*networks)) == {202}
        waits = [row[8] for row in there.rows()["outbox"]]
    assert sum(wait is not None for wait in waits) == waiting


def test_what_is_no_form_counts_as_well(plain: dict[str, str]) -> None:
    with signups(plain, A_MINUTE_IN_ALL=1) as there:
        ask = there.app.test_client()
        form = "application/x-www-form-urlencoded"
        assert ask.post(FOLLOW, data=b"address=%FF", content_type=form).status_code == 400
        assert ask.post(FOLLOW, data={"address": "kari@example.org"}).status_code == 429


def test_all_networks_together_are_asked_to_wait(plain: dict[str, str]) -> None:
    with signups(plain, A_MINUTE_IN_ALL=2) as there:
        assert there.statuses("192.0.2.1", "198.51.100.1", "203.0.113.1") == [202, 202, 429]
        answer = there.follow(at="203.0.113.1")
    assert int(answer.headers["Retry-After"]) > 0
    assert "For mange forsøk" in answer.text


def test_a_network_that_is_stopped_takes_nothing_from_the_others(plain: dict[str, str]) -> None:
    with signups(plain, A_MINUTE=1, A_MINUTE_IN_ALL=202) as there:
        answers = there.statuses(*["192.0.2.1"] * 210, "198.51.100.1")
    assert answers == [*[202] * 201, *[429] * 9, 202]


@pytest.mark.parametrize("redis_is", ["there", "gone"])
@pytest.mark.parametrize(
    ("typed", "path"), [(" KARI+a@Example.org", FOLLOW), ("kari@example.org", "/fjellavisa/follow")]
)
def test_a_mailbox_is_limited_in_silence(
    databases: Databases, redis: Redis, typed: str, path: str, redis_is: str
) -> None:
    with databases.fresh("sqlite") as url:
        variables = contract(database_url=url, redis_url=redis.url, smtp_url="smtp://127.0.0.1")
        if redis_is == "gone":
            redis.kill()
        with signups(variables, AN_HOUR_FOR_ADDRESS=1) as there:
            there.follow()
            before = there.rows()
            answer = there.follow(typed, path=path)
            assert there.rows() == before
            assert answer.status_code == 202
            assert "Retry-After" not in answer.headers
            there.follow("ada@third.example", path="/fjellavisa/follow")
            assert len(there.rows()["outbox"]) == 2


def test_a_press_room_at_its_limit_says_so(plain: dict[str, str]) -> None:
    with signups(plain, AN_HOUR_FOR_PRESS_ROOM=1) as there:
        assert there.follow().status_code == 202
        assert there.follow("ola@elsewhere.example").status_code == 429
        assert there.follow("ola@elsewhere.example", path="/fjellavisa/follow").status_code == 202


def test_a_mail_domain_is_limited_until_its_people_confirm(environment: dict[str, str]) -> None:
    with signups(environment, AN_HOUR_FOR_DOMAIN=2) as there:
        people = [f"kari{one}@vevet.example" for one in range(4)]
        assert [there.follow(one).status_code for one in people] == [202, 202, 429, 429]
        assert "ved dette domenet" in there.follow(people[3]).text
        assert there.follow("kari@annet.example").status_code == 202
        there.confirm(people[0])
        assert there.follow(people[2]).status_code == 202
        letters = len(there.rows()["outbox"])
    assert letters == len(["two", "another domain", "welcome", "a place given back"]) + 1


@pytest.mark.parametrize("domain", ["gmail.com", "outlook.com", "online.no", "example.org"])
def test_no_limit_is_for_large_domains_and_for_the_press_room_s_own(
    plain: dict[str, str], domain: str
) -> None:
    with signups(plain, AN_HOUR_FOR_DOMAIN=1) as there:
        answers = [there.follow(f"kari{one}@{domain}").status_code for one in range(3)]
        assert answers == [202] * 3
        assert len(there.rows()["outbox"]) == 3


def test_who_is_limited_in_silence_sees_what_everybody_sees(plain: dict[str, str]) -> None:
    with signups(plain, AN_HOUR_FOR_ADDRESS=1) as there:
        first, second = there.follow(), there.follow()
    assert first.status_code == second.status_code == 202
    assert first.data == second.data
    assert dict(first.headers) == dict(second.headers)


def test_no_address_is_kept_in_redis_or_named_in_the_log(
    plain: dict[str, str], redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), signups(plain, AN_HOUR_FOR_ADDRESS=1) as there:
        there.follow("kari-hemmelig@example.org")
        there.follow("kari-hemmelig@example.org")
    assert "stopped at the limit by address" in caplog.text
    assert "hemmelig" not in caplog.text
    with Client.from_url(redis.url) as client:
        keys = b" ".join(client.keys())
    assert keys
    assert b"hemmelig" not in keys


def test_the_limits_hold_without_redis(environment: dict[str, str], redis: Redis) -> None:
    redis.kill()
    with signups(environment, A_MINUTE=2) as there:
        there.statuses("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2")
        waits = [row[8] for row in there.rows()["outbox"]]
    assert [wait is not None for wait in waits] == [False, False, True, False]


@pytest.mark.parametrize("forged", ["9" * 30, "-1", "x", "1e400", "nan", ""])
def test_a_number_forged_in_redis_pauses_sign_ups_at_most(
    plain: dict[str, str], redis: Redis, forged: str
) -> None:
    with signups(plain) as there, Client.from_url(redis.url) as client:
        there.follow("ada@example.org")
        for key in client.keys("mailer:signups:*"):
            client.set(key, forged)
        assert there.follow().status_code in (202, 429)
        client.flushall()
        assert there.follow().status_code == 202
