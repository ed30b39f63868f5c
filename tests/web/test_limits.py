"""How often one may sign up: from one network and in all, for one address, domain and room."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from flask import Flask
from redis import Redis as Client
from werkzeug.test import TestResponse

from mailer.domain import publishers
from tests.conftest import Databases
from tests.servers import Redis
from tests.service import application, contract
from tests.support.press_room import DRAFT, Rows, everything
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


def test_one_network_is_asked_to_wait(environment: dict[str, str]) -> None:
    with signups(environment, A_MINUTE=2) as there:
        answers = there.statuses("192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.1")
    assert answers == [202, 202, 429, 202]


def test_what_is_no_form_counts_as_well(plain: dict[str, str]) -> None:
    with signups(plain, A_MINUTE=1) as there:
        ask = there.app.test_client()
        form = "application/x-www-form-urlencoded"
        assert ask.post(FOLLOW, data=b"address=%FF", content_type=form).status_code == 400
        assert ask.post(FOLLOW, data={"address": "kari@example.org"}).status_code == 429


def test_an_ipv6_network_is_one_visitor(plain: dict[str, str]) -> None:
    with signups(plain, A_MINUTE=2) as there:
        assert there.statuses("2001:db8::1", "2001:db8::2", "2001:db8::3") == [202, 202, 429]
        assert int(there.follow(at="2001:db8::4").headers["Retry-After"]) > 0


def test_all_networks_together_are_asked_to_wait(plain: dict[str, str]) -> None:
    with signups(plain, A_MINUTE_IN_ALL=2) as there:
        assert there.statuses("192.0.2.1", "198.51.100.1", "203.0.113.1") == [202, 202, 429]
        answer = there.follow(at="203.0.113.1")
    assert int(answer.headers["Retry-After"]) > 0
    assert "For mange forsøk" in answer.text


def test_a_network_that_is_stopped_takes_nothing_from_the_others(plain: dict[str, str]) -> None:
    with signups(plain, A_MINUTE=1, A_MINUTE_IN_ALL=2) as there:
        answers = there.statuses("192.0.2.1", "192.0.2.1", "192.0.2.1", "198.51.100.1")
    assert answers == [202, 429, 429, 202]


def test_an_address_that_is_stopped_takes_nothing_from_its_domain(
    plain: dict[str, str],
) -> None:
    with signups(plain, AN_HOUR_FOR_ADDRESS=1, AN_HOUR_FOR_DOMAIN=2) as there:
        for _ in range(3):
            there.follow()
        there.follow("ola@example.org")
        there.follow("ada@example.org")
        addresses = [row[1] for row in there.rows()["subscribers"]]
    assert addresses == ["kari@example.org", "ola@example.org"]


@pytest.mark.parametrize("redis_is", ["there", "gone"])
@pytest.mark.parametrize(
    ("limit", "typed", "path"),
    [
        ("AN_HOUR_FOR_ADDRESS", " KARI@Example.org", FOLLOW),
        ("AN_HOUR_FOR_ADDRESS", "kari@example.org", "/fjellavisa/follow"),
        ("AN_HOUR_FOR_DOMAIN", "ola@EXAMPLE.org", "/fjellavisa/follow"),
        ("AN_HOUR_FOR_PRESS_ROOM", "ola@elsewhere.example", FOLLOW),
    ],
)
def test_what_an_address_is_part_of_is_limited_in_silence(
    databases: Databases, redis: Redis, limit: str, typed: str, path: str, redis_is: str
) -> None:
    with databases.fresh("sqlite") as url:
        variables = contract(database_url=url, redis_url=redis.url, smtp_url="smtp://127.0.0.1")
        if redis_is == "gone":
            redis.kill()
        with signups(variables, **{limit: 1}) as there:
            there.follow()
            before = there.rows()
            answer = there.follow(typed, path=path)
            assert there.rows() == before
            assert answer.status_code == 202
            assert "Retry-After" not in answer.headers
            # The others are not meant.
            there.follow("ada@third.example", path="/fjellavisa/follow")
            assert len(there.rows()["outbox"]) == 2


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
        assert there.statuses("192.0.2.1", "192.0.2.2", "192.0.2.3") == [202, 202, 429]
