"""`mailer doctor` says which part is ill, and how to mend it."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from aiosmtpd.smtp import AuthResult
from redis import Redis as Client

from tests.cli.operator import Operator, Said
from tests.conftest import Databases
from tests.processes import free_port
from tests.relay import Relay
from tests.servers import PostgreSQL, Redis
from tests.service import contract

PARTS = ("settings", "dkim", "database", "redis", "smtp", "web")


@pytest.fixture
def healthy(operator: Operator, redis: Redis, relay: Relay) -> Operator:
    """An operator of a service where all is well, on both kinds of database."""
    return Operator({**operator.environment, "REDIS_URL": redis.url, "SMTP_URL": relay.url}, Path())


@pytest.fixture
def one(databases: Databases, redis: Redis, relay: Relay) -> Iterator[Operator]:
    """The same on SQLite alone, for what has nothing to do with the database."""
    with databases.fresh("sqlite") as url:
        yield Operator(contract(database_url=url, redis_url=redis.url, smtp_url=relay.url), Path())


def parts(said: Said) -> Mapping[str, str]:
    """Give what the doctor says about each part."""
    assert "Traceback" not in said.out + said.err
    lines = said.out.splitlines()
    return {part: line for part in PARTS for line in lines if line.split()[:1] == [part]}


def ailment(said: Said, part: str) -> str:
    """See that this part alone is ill, and give what is said about it."""
    assert said.status == 1, said
    told = parts(said)
    ill = [name for name, line in told.items() if line.split()[1] == "WRONG" and name == part]
    assert ill == [part], said
    assert all(line.split()[1] == "ok" for name, line in told.items() if name != part), said
    return told[part]


def test_where_all_is_well_every_part_is_ok(healthy: Operator) -> None:
    said = healthy.run("doctor")
    assert [line.split()[1] for line in parts(said).values()] == ["ok"] * len(PARTS), said
    assert said.status == 0


def test_a_database_that_other_accounts_may_read_is_named(one: Operator) -> None:
    file = Path(one.environment["DATABASE_URL"].removeprefix("sqlite:///"))
    file.chmod(0o640)
    assert f"chmod 600 {file}" in ailment(one.run("doctor"), "database")
    file.chmod(0o600)
    assert one.run("doctor").status == 0


def test_a_service_may_do_without_redis(one: Operator) -> None:
    assert one.run("doctor", REDIS_URL="").status == 0


def test_the_keys_that_sign_are_named(one: Operator, tmp_path: Path) -> None:
    assert "unsigned" in parts(one.run("doctor"))["dkim"]
    file = tmp_path / "key.pem"
    one.does("dkim", "key", str(file), "--algorithm", "ed25519")
    told = parts(one.run("doctor", MAILER_DKIM_KEYS=f"example.org:autumn:{file}"))["dkim"]
    assert "autumn of example.org" in told


def test_a_key_that_cannot_be_read_is_named(one: Operator) -> None:
    said = one.run("doctor", MAILER_DKIM_KEYS="example.org:autumn:/nowhere.pem")
    assert said.status == 1
    assert "MAILER_DKIM_KEYS: the file of the selector autumn" in said.out


class Proxy(BaseHTTPRequestHandler):
    """Something in front of the web process, which answers with the status of its server."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def proxy(status: int) -> Iterator[str]:
    """Run a proxy; gives the address that visitors would use."""
    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        server.status = status  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_proxy_that_passes_another_host_on_is_explained(one: Operator) -> None:
    with proxy(HTTPStatus.BAD_REQUEST) as url:
        assert "let it pass on the Host" in ailment(one.run("doctor", BASE_URL=url), "web")
    with proxy(HTTPStatus.NOT_FOUND) as url:
        assert "404" in ailment(one.run("doctor", BASE_URL=url), "web")
    with proxy(HTTPStatus.OK) as url:
        assert one.run("doctor", BASE_URL=url).status == 0


def test_a_former_host_that_does_not_lead_here_is_named(one: Operator) -> None:
    said = one.run("doctor", MAILER_FORMER_HOSTS="old.invalid.example")
    assert "https://old.invalid.example does not lead here" in ailment(said, "web")


def test_a_setting_nothing_reads_is_named(one: Operator) -> None:
    told = ailment(one.run("doctor", MAILER_CONECTIONS="8"), "settings")
    assert "MAILER_CONECTIONS" in told


def test_a_setting_that_makes_no_sense_is_named(one: Operator) -> None:
    said = one.run("doctor", MAILER_CONNECTIONS="many")
    assert said.status == 1
    assert "MAILER_CONNECTIONS" in said.out
    assert "Traceback" not in said.err


def test_a_database_that_is_away(healthy: Operator) -> None:
    url = f"postgresql+psycopg://kari:hemmelig@127.0.0.1:{free_port()}/mailer"
    told = ailment(healthy.run("doctor", DATABASE_URL=url), "database")
    assert "DATABASE_URL" in told
    assert "hemmelig" not in told


def test_a_database_that_was_stopped(
    databases: Databases, postgresql: PostgreSQL, one: Operator
) -> None:
    with databases.fresh("postgresql") as url:
        postgresql.stop()
        assert "DATABASE_URL" in ailment(one.run("doctor", DATABASE_URL=url), "database")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_without_tables(
    one: Operator, kind: str, tmp_path: Path, postgresql: PostgreSQL
) -> None:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    else:
        url = postgresql.create_database("unmigrated")
    told = ailment(one.run("doctor", DATABASE_URL=url), "database")
    assert "mailer db upgrade" in told
    postgresql.drop_database("unmigrated")


def test_a_redis_that_is_away(one: Operator) -> None:
    told = ailment(one.run("doctor", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0"), "redis")
    assert "REDIS_URL" in told


def test_a_redis_that_does_not_answer(one: Operator, redis: Redis) -> None:
    redis.freeze()
    assert "REDIS_URL" in ailment(one.run("doctor"), "redis")


def test_a_redis_that_forgets(one: Operator, redis: Redis) -> None:
    with Client.from_url(redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert "noeviction" in ailment(one.run("doctor"), "redis")
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def test_a_relay_that_is_away(one: Operator) -> None:
    url = f"smtp://127.0.0.1:{free_port()}"
    assert "SMTP_URL" in ailment(one.run("doctor", SMTP_URL=url), "smtp")


def test_a_relay_that_turns_us_away(one: Operator, relay: Relay) -> None:
    relay.answer(at="connect", reply="554 5.7.1 You are blocked")
    told = ailment(one.run("doctor"), "smtp")
    assert "554" in told
    assert "SMTP_URL" in told


def test_a_relay_with_another_password(one: Operator) -> None:
    def refuse(*_: object) -> AuthResult:
        return AuthResult(success=False, handled=False)

    with Relay.running(authenticator=refuse, auth_require_tls=False) as strict:
        url = strict.url.replace("//", "//kari:hemmelig@")
        told = ailment(one.run("doctor", SMTP_URL=url), "smtp")
    assert "535" in told
    assert "password" in told
    assert "hemmelig" not in told


def test_a_relay_without_smtputf8(one: Operator) -> None:
    with Relay.running(enable_SMTPUTF8=False) as plain:
        told = ailment(one.run("doctor", SMTP_URL=plain.url), "smtp")
        assert "MAILER_SMTPUTF8=0" in told
        mended = one.run("doctor", SMTP_URL=plain.url, MAILER_SMTPUTF8="0")
        assert parts(mended)["smtp"].split()[1] == "ok"


def test_a_relay_without_the_tls_that_is_required(one: Operator, relay: Relay) -> None:
    told = ailment(one.run("doctor", SMTP_URL=f"{relay.url}?starttls=require"), "smtp")
    assert "SMTP_URL" in told


def test_a_relay_with_a_certificate_of_its_own_making(one: Operator, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    assert openssl
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=relay", "-days", "1"]
    subprocess.run(
        [openssl, "req", *options, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with Relay.running(tls_context=context) as relay:
        said = one.run("doctor", SMTP_URL=f"{relay.url}?starttls=require")
    assert "SMTP_URL" in ailment(said, "smtp")
