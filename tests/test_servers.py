"""The test servers themselves: they answer, remember, fail on request and come back."""

import smtplib
from contextlib import closing
from email.message import EmailMessage

import psycopg
import pytest
import redis as redis_client
from playwright.sync_api import Page
from sqlalchemy import create_engine, inspect

from tests.processes import eventually
from tests.relay import DROP, Relay
from tests.servers import PostgreSQL, Redis, sink
from tests.service import NAMES, Service


def greeting(to: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "Press <press@example.org>", to
    message["Subject"] = "Blåbær på øya"
    message.set_content("God morgen.\n.\nEn linje med bare et punktum står over.\n")
    return message


def send(relay: Relay, to: str) -> None:
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as client:
        client.send_message(greeting(to))


def test_postgresql_keeps_what_was_committed_through_a_kill(postgresql: PostgreSQL) -> None:
    url = postgresql.create_database("kept").replace("+psycopg", "")
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        postgresql.kill()
        assert not postgresql.process.running
        postgresql.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    postgresql.drop_database("kept")


def test_redis_forgets_everything_in_a_kill(redis: Redis) -> None:
    with redis_client.Redis.from_url(redis.url) as client:
        client.set("job", 1)
        redis.kill()
        redis.start()
        assert client.get("job") is None


def test_a_frozen_redis_does_not_answer_until_it_thaws(redis: Redis) -> None:
    redis.freeze()
    with redis_client.Redis.from_url(redis.url, socket_timeout=0.2, retry=None) as client:
        with pytest.raises(redis_client.exceptions.TimeoutError):
            client.ping()
        redis.thaw()
        assert eventually(lambda: redis_client.Redis.from_url(redis.url).ping())


def test_the_relay_records_the_exact_message(relay: Relay) -> None:
    send(relay, "bjørn@example.org")
    [message] = relay.wait_for(to="bjørn@example.org")
    assert message["Subject"] == "Blåbær på øya"
    assert message.get_content() == greeting("").get_content()
    assert b"\r\n.\r\n" in relay.received[0].content
    assert relay.received[0].sender == "press@example.org"


def test_the_relay_refuses_whom_it_is_told_to(relay: Relay) -> None:
    relay.answer("gone@example.org", at="rcpt", reply="550 5.1.1 No such user")
    relay.answer("busy@example.org", at="dot", reply="451 4.3.0 Later", times=1)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(relay, "gone@example.org")
    with pytest.raises(smtplib.SMTPDataError):
        send(relay, "busy@example.org")
    send(relay, "busy@example.org")
    assert [one.recipient for one in relay.received] == ["busy@example.org"]


@pytest.mark.parametrize(("stage", "accepted"), [("dot", 0), ("taken", 1)])
def test_the_relay_drops_a_connection_before_or_after_taking_the_message(
    relay: Relay, stage: str, accepted: int
) -> None:
    relay.answer(at="dot" if stage == "dot" else "taken", reply=DROP, times=1)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        send(relay, "ada@example.org")
    assert len(relay.received) == accepted
    send(relay, "ada@example.org")
    assert len(relay.wait_for(accepted + 1)) == accepted + 1


@pytest.mark.parametrize("stage", ["connect", "mail", "data"])
def test_the_relay_refuses_before_it_knows_anybody(relay: Relay, stage: str) -> None:
    relay.answer(at=stage, reply="554 5.7.1 Not you", times=1)  # type: ignore[arg-type] # a Stage
    with pytest.raises(smtplib.SMTPException, match="Not you"):
        send(relay, "ada@example.org")


def test_a_relay_that_dies_comes_back_on_its_port(relay: Relay) -> None:
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as client:
        relay.stop()
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            client.noop()
    relay.start()
    send(relay, "ada@example.org")
    assert relay.wait_for(1)


@pytest.mark.processes
def test_the_sink_records_every_recipient() -> None:
    with sink(record=True) as target:
        with smtplib.SMTP("127.0.0.1", target.port, timeout=30) as client:
            for number in range(20):
                client.send_message(greeting(f"reader{number}@example.org"))
        recipients = target.headers("X-Rcpt-Args")
    assert recipients == [f"<reader{number}@example.org>" for number in range(20)]


def test_a_fresh_database_is_migrated_and_empty(database_url: str) -> None:
    engine = create_engine(database_url)
    assert "releases" in inspect(engine).get_table_names()
    engine.dispose()


def test_the_environment_names_every_part(environment: dict[str, str]) -> None:
    assert set(environment) >= {"DATABASE_URL", "REDIS_URL", "SMTP_URL", "BASE_URL", "SECRET_KEYS"}


def test_chromium_shows_a_page(page: Page) -> None:
    page.goto("data:text/html,<title>Hei</title>")
    assert page.title() == "Hei"


def test_the_service_gets_over_the_kill_of_any_process(service: Service) -> None:
    for name in NAMES:
        before = service.pid(name)
        service.kill(name)
        service.restart(name)
        assert service.pid(name) != before
    assert all(process.running for process in service.processes.values())
