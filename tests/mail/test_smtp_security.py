"""The SMTP client: encryption that may not be talked away, and logging in."""

from __future__ import annotations

import asyncio
import base64
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.mail.smtp import SmtpConnection, tls_context
from mailer.mail.smtp_protocol import Rejected, Unanswered
from tests.mail.lines import Lines, speaking

STARTTLS = b"250-relay.example.org\r\n250 STARTTLS\r\n"
READY = b"220 2.0.0 Go ahead\r\n"

pytestmark = pytest.mark.processes


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, and its key, in one file."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(folder / "key"), "-out", str(folder / "certificate")),
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both"
    both.write_text((folder / "key").read_text() + (folder / "certificate").read_text())
    return both


@pytest.fixture
def server_side(certificate: Path) -> ssl.SSLContext:
    """What a server with that certificate speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the machine trust that certificate, as it trusts an authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()


async def greeted(server: Lines, security: str = "none", user: str | None = None) -> list[str]:
    """Connect and log in; returns what the server heard."""
    connection = await SmtpConnection.open(server.relay(security, user, "æ:secret"), longest_wait=2)
    offered = list(connection.extensions)
    await connection.quit()
    return offered


@pytest.mark.usefixtures("trusted")
def test_starttls_begins_anew_under_encryption(server_side: ssl.SSLContext) -> None:
    async def work() -> list[str]:
        async with speaking({"EHLO": STARTTLS, "STARTTLS": READY}, tls=server_side) as server:
            await greeted(server, "starttls")
            return [line.split()[0] for line in server.heard]

    assert asyncio.run(work())[:3] == ["EHLO", "STARTTLS", "EHLO"]


@pytest.mark.usefixtures("trusted")
def test_implicit_tls(server_side: ssl.SSLContext) -> None:
    async def work() -> list[str]:
        async with speaking(tls=server_side, implicit=True) as server:
            return await greeted(server, "tls")

    assert asyncio.run(work()) == ["ENHANCEDSTATUSCODES"]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_ends_the_connection(
    server_side: ssl.SSLContext, security: str
) -> None:
    async def work() -> None:
        implicit = security == "tls"
        changes = {"EHLO": STARTTLS, "STARTTLS": READY}
        async with speaking(changes, tls=server_side, implicit=implicit) as server:
            with pytest.raises(Unanswered) as problem:
                await greeted(server, security, "press")
            assert problem.value.stage == "connect"
            assert not [line for line in server.heard if line.startswith("AUTH")]

    asyncio.run(work())


def test_starttls_that_is_taken_away_on_the_wire_ends_the_connection() -> None:
    async def work() -> None:
        async with speaking() as server:
            with pytest.raises(Rejected) as problem:
                await greeted(server, "starttls", "press")
            assert problem.value.stage == "connect"
            assert not [line for line in server.heard if line.startswith("AUTH")]

    asyncio.run(work())


@pytest.mark.usefixtures("trusted")
def test_what_is_said_before_the_encryption_is_not_believed_after_it(
    server_side: ssl.SSLContext,
) -> None:
    """Somebody on the wire may add to the plain answer to STARTTLS."""

    async def work() -> list[str]:
        injected = READY + b"250-relay.example.org\r\n250 FORGED\r\n"
        async with speaking({"EHLO": STARTTLS, "STARTTLS": injected}, tls=server_side) as server:
            try:
                return await greeted(server, "starttls")
            except Unanswered:
                return []

    assert "FORGED" not in asyncio.run(work())


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("offer", [b"PLAIN", b"LOGIN PLAIN", b"PLAIN LOGIN"])
def test_plain_is_preferred(offer: bytes) -> None:
    async def work() -> list[str]:
        hello = b"250-relay\r\n250 AUTH " + offer + b"\r\n"
        async with speaking({"EHLO": hello, "AUTH": b"235 2.7.0 Come in\r\n"}) as server:
            await greeted(server, user="press")
            return server.heard

    assert f"AUTH PLAIN {encoded(chr(0) + 'press' + chr(0) + 'æ:secret')}" in asyncio.run(work())


@pytest.mark.parametrize("offer", [b"250 SIZE 1000\r\n", b"250 AUTH CRAM-MD5\r\n"])
def test_a_password_is_told_to_no_server_that_does_not_ask(offer: bytes) -> None:
    async def work() -> None:
        async with speaking({"EHLO": b"250-relay\r\n" + offer}) as server:
            with pytest.raises(Unanswered) as problem:
                await greeted(server, user="press")
            assert problem.value.stage == "auth"
            assert not [line for line in server.heard if line.startswith("AUTH")]

    asyncio.run(work())


def test_login_is_spoken_where_nothing_else_is() -> None:
    async def work() -> list[str]:
        answers = {
            "EHLO": b"250-relay\r\n250 AUTH LOGIN\r\n",
            "AUTH": b"334 VXNlcm5hbWU6\r\n",
            encoded("press").upper(): b"334 UGFzc3dvcmQ6\r\n",
            encoded("æ:secret").upper(): b"235 2.7.0 Come in\r\n",
        }
        async with speaking(answers) as server:
            await greeted(server, user="press")
            return server.heard

    assert asyncio.run(work())[1:4] == ["AUTH LOGIN", encoded("press"), encoded("æ:secret")]


@pytest.mark.parametrize("reply", [b"535 5.7.8 Wrong\r\n", b"454 4.7.0 Later\r\n"])
def test_a_login_that_is_refused_says_so(reply: bytes) -> None:
    async def work() -> None:
        hello = b"250-relay\r\n250 AUTH PLAIN\r\n"
        async with speaking({"EHLO": hello, "AUTH": reply}) as server:
            with pytest.raises(Rejected) as problem:
                await greeted(server, user="press")
            assert problem.value.stage == "auth"

    asyncio.run(work())


def test_we_call_ourselves_as_we_are_told() -> None:
    async def work() -> list[str]:
        async with speaking() as server:
            connection = await SmtpConnection.open(server.relay(), name="post.example.org")
            await connection.quit()
            return server.heard

    assert asyncio.run(work())[0] == "EHLO post.example.org"
