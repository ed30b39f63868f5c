"""How often one network may sign up."""

from __future__ import annotations

from mailer.domain import publishers
from tests.servers import Redis
from tests.service import application
from tests.web.house import FOLLOW, ROOM_DRAFT


def signing_up(environment: dict[str, str], *networks: str) -> list[int]:
    """Open the press room, and sign up once from each of these IP addresses."""
    variables = environment | {"MAILER_FOLLOWS_A_MINUTE": "2"}
    with application(variables) as app:
        publishers.add(ROOM_DRAFT)
        return [
            app.test_client()
            .post(
                FOLLOW,
                data={"address": f"kari{number}@example.org"},
                environ_base={"REMOTE_ADDR": address},
            )
            .status_code
            for number, address in enumerate(networks)
        ]


def test_one_network_is_asked_to_wait(environment: dict[str, str]) -> None:
    answers = signing_up(environment, "192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.1")
    assert answers == [202, 202, 429, 202]


def test_an_ipv6_network_is_one_visitor(environment: dict[str, str]) -> None:
    assert signing_up(environment, "2001:db8::1", "2001:db8::2", "2001:db8::3") == [202, 202, 429]


def test_the_limit_holds_without_redis(environment: dict[str, str], redis: Redis) -> None:
    redis.kill()
    assert signing_up(environment, "192.0.2.1", "192.0.2.2", "192.0.2.3") == [202, 202, 429]
