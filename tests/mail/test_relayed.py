"""What we send is what arrives, and it verifies, after its way through a real Postfix."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.mail.dkim import sign
from mailer.mail.message import Composed
from mailer.mail.smtp import Mail, SmtpConnection
from mailer.relay import Relay as Hop
from tests.dkim_keys import dkimpy_verdicts, ed25519, opendkim_verdicts, rsa
from tests.mail.conftest import VALUES
from tests.mail.test_dkim import DOMAIN, TIMESTAMP
from tests.mail_server import MailServer
from tests.relay import Received, Relay

KEYS = (rsa(DOMAIN), ed25519(DOMAIN))
SENDER = "bounce-abc@in.museet.example"
KARI, BJORN = "kari@example.org", "bjørn@example.org"


@pytest.fixture(scope="module")
def inbox() -> Iterator[Relay]:
    """The mail server of the recipients."""
    with Relay.running() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def postfix(inbox: Relay) -> Iterator[Hop]:
    """A Postfix that hands everything on to there."""
    with MailServer.running(main=f"relayhost = [127.0.0.1]:{inbox.port}\n") as server:
        yield Hop.from_url(server.url)


@pytest.fixture(params=["nb", "en"])
def locale(request: pytest.FixtureRequest) -> str:
    """The language of the recipient."""
    return str(request.param)


def send(relay: Hop, content: bytes, recipient: str) -> None:
    """Hand a message over, as a worker does."""

    async def hand_over() -> None:
        connection = await SmtpConnection.open(relay)
        mail = Mail(SENDER, recipient, content)
        await connection.envelope(mail)
        assert (await connection.content(mail)).completed
        await connection.quit()

    asyncio.run(hand_over())


def relayed(postfix: Hop, inbox: Relay, content: bytes, recipient: str) -> Received:
    """Send a message through Postfix, and wait until it is there."""
    inbox.reset()
    send(postfix, content, recipient)
    inbox.wait_for(to=recipient)
    [received] = inbox.received
    return received


@pytest.mark.processes
@pytest.mark.parametrize("recipient", [KARI, BJORN])
def test_a_letter_arrives_octet_by_octet_and_both_verifiers_take_it(
    postfix: Hop, inbox: Relay, letter: Composed, recipient: str, tmp_path: Path
) -> None:
    content = sign(letter, KEYS, TIMESTAMP).fill({**VALUES, "to": recipient})
    received = relayed(postfix, inbox, content, recipient)
    assert received.sender == SENDER
    assert received.content.startswith(b"Received: from ")
    # All that is new is above what was sent: neither a header nor the body was touched.
    assert received.content.endswith(b"\r\n" + content)
    assert received.content.partition(b"\r\n\r\n")[2] == content.partition(b"\r\n\r\n")[2]
    assert dkimpy_verdicts(received.content, KEYS) == [True, True]
    assert opendkim_verdicts(received.content, KEYS, tmp_path) == [True, True]
