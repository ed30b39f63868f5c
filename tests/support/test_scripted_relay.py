"""The scripted relay keeps to RFC 5321, so that what it finds is no mistake of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mailer.mail.smtp import Mail, SmtpConnection
from mailer.relay import Relay
from tests.support.scripted_relay import (
    STAGES,
    Answer,
    Chances,
    Moment,
    ScriptedRelay,
    Stage,
    at_random,
    script,
)
from tests.support.virtual_time import VirtualClock, VirtualLoop

ADA, BOB, CAI = "ada@example.org", "bob@example.org", "cai@example.org"
MAIL, DATA, RSET, DOT = "MAIL FROM:<press@example.org>", "DATA", "RSET", "Hello\r\n."
TO_ADA, TO_BOB, TO_CAI = (f"RCPT TO:<{one}>" for one in (ADA, BOB, CAI))
WHOLE = (MAIL, TO_ADA, DATA, DOT)


class Client(asyncio.Protocol):
    """Remembers what the relay says, piece by piece, and whether it has closed."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed = False

    @property
    def heard(self) -> str:
        """All that the relay has said."""
        return b"".join(self.pieces).decode()

    @property
    def codes(self) -> list[str]:
        """The codes of the replies, without that of the banner."""
        return [one[:3] for one in self.heard.splitlines()[1:] if one[3] != "-"]

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True


@contextmanager
def loop_before(relay: ScriptedRelay) -> Iterator[VirtualLoop]:
    """Give a loop whose connections lead to the relay."""
    loop = VirtualLoop(relay.clock, relay.connect)
    try:
        yield loop
    finally:
        loop.close()


def said(relay: ScriptedRelay, *lines: str, apart: float = 100) -> Client:
    """Say lines to a relay, some seconds apart."""

    async def say(loop: VirtualLoop) -> Client:
        client = Client()
        await loop.create_connection(lambda: client)
        # The relay itself is what the client writes to.
        (session,) = relay.open
        await asyncio.sleep(apart)
        for line in lines:
            session.write(f"{line}\r\n".encode())
            await asyncio.sleep(apart)
        await asyncio.sleep(100)
        return client

    with loop_before(relay) as loop:
        return loop.run_until_complete(say(loop))


def refusing(recipient: str, stage: Stage, answer: Answer) -> ScriptedRelay:
    return ScriptedRelay(VirtualClock(), script((recipient, stage, answer)))


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        (WHOLE, "250 250 354 250"),
        ((DATA,), "503"),
        ((TO_ADA, DATA), "503 503"),
        ((MAIL, DATA), "250 503"),
        ((MAIL, MAIL), "250 503"),
        ((*WHOLE, DATA), "250 250 354 250 503"),
        ((*WHOLE, TO_BOB, DATA), "250 250 354 250 503 503"),
        ((*WHOLE, *WHOLE), "250 250 354 250 250 250 354 250"),
        ((MAIL, TO_ADA, RSET, DATA), "250 250 250 503"),
        ((MAIL, RSET, TO_ADA), "250 250 503"),
        ((MAIL, TO_ADA, "EHLO here", DATA), "250 250 250 503"),
        (("VRFY ada", MAIL, "RCPT TO:ada"), "500 250 501"),
    ],
)
def test_what_is_out_of_order_gets_503(lines: tuple[str, ...], codes: str) -> None:
    relay = ScriptedRelay(VirtualClock())
    assert said(relay, *lines).codes == codes.split()
    assert len(relay.taken) == lines.count(DOT)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
def test_what_follows_a_refusal_is_out_of_order(stage: Stage) -> None:
    answers = script(*((who, stage, Answer("450 4.2.0 No")) for who in ("", ADA)))
    relay = ScriptedRelay(VirtualClock(), answers)
    following = {"mail": (TO_ADA, DATA), "rcpt": (DATA,), "data": (), "dot": (DATA,)}[stage]
    before = WHOLE[: ("mail", "rcpt", "data", "dot").index(stage) + 1]
    client = said(relay, *before, *following)
    assert client.codes[len(before) - 1 :] == ["450"] + ["503"] * len(following)
    assert not relay.taken


def test_each_accepted_recipient_has_one_copy() -> None:
    relay = refusing(BOB, "rcpt", Answer("550 5.1.1 Unknown"))
    client = said(relay, MAIL, TO_ADA, TO_BOB, TO_CAI, DATA, DOT)
    assert client.codes == ["250", "250", "550", "250", "354", "250"]
    assert [(one.recipient, one.content) for one in relay.taken] == [
        (ADA, b"Hello\r\n"),
        (CAI, b"Hello\r\n"),
    ]


def test_after_a_banner_that_refuses_only_quit_is_obeyed() -> None:
    relay = refusing("", "banner", Answer("554 5.3.2 No"))
    client = said(relay, "EHLO here", "HELO here", *WHOLE[:3], RSET, "NOOP", "QUIT")
    assert client.codes == ["503"] * 7 + ["221"]
    assert client.closed


def test_extensions_are_for_ehlo() -> None:
    banner, *ehlo = said(ScriptedRelay(VirtualClock()), "EHLO here").heard.splitlines()
    assert "250-PIPELINING" in ehlo
    assert said(ScriptedRelay(VirtualClock()), "HELO here").heard.splitlines() == [
        banner,
        "250 relay.example",
    ]


@pytest.mark.parametrize("content", ["", ".\n", "..\n", ".a\nb.\n.\n\n..c\n", "a\n\n", "a.\n"])
def test_dots_are_undone(content: str) -> None:
    lines = content.splitlines()
    stuffed = [f".{one}" if one.startswith(".") else one for one in lines]
    relay = ScriptedRelay(VirtualClock())
    assert said(relay, *WHOLE[:3], *stuffed, ".", "NOOP").codes[3] == "250"
    assert [one.content for one in relay.taken] == [content.replace("\n", "\r\n").encode()]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("answer", "closes"),
    [
        (Answer("421 4.3.2 Bye"), True),
        (Answer("421"), True),
        (Answer("421 4.3.2 Bye", closes=False), False),
        (Answer("450 4.2.0 No", closes=True), True),
        (Answer("450 4.2.0 No"), False),
    ],
)
def test_421_closes_and_other_replies_as_told(stage: Stage, answer: Answer, closes: bool) -> None:
    relay = ScriptedRelay(VirtualClock(), lambda at, *_: answer if at == stage else None)
    client = said(relay, "EHLO here", *WHOLE)
    assert (answer.reply or "") in client.heard
    assert client.closed == closes
    assert bool(relay.open) != closes


def test_421_closes_at_random_too() -> None:
    heard = set()
    for seed in range(50):
        answers = at_random(seed, Chances(refusal=1.0, stages=("rcpt",)))
        client = said(ScriptedRelay(VirtualClock(), answers), *WHOLE[:2])
        heard.add(client.codes[1])
        assert client.closed == (client.codes[1] == "421")
    assert len(heard) > 1


def test_replies_are_cut_and_joined_but_nothing_is_lost() -> None:
    lines = ("EHLO here", "\r\n".join(WHOLE), "\r\n".join(WHOLE), "QUIT")
    whole, *cut = (
        said(ScriptedRelay(VirtualClock(), cuts=seed), *lines, apart=0.0005)
        for seed in (None, 1, 1, 2)
    )
    assert [one.heard for one in cut] == [whole.heard] * 3
    assert cut[0].pieces == cut[1].pieces != cut[2].pieces
    for one in cut:
        assert any(not piece.endswith(b"\r\n") for piece in one.pieces), "none is cut"
        assert any(b"\r\n" in piece[:-2] for piece in one.pieces[6:]), "none are joined"


def test_our_client_reads_replies_that_are_cut() -> None:
    relay = ScriptedRelay(VirtualClock(), cuts=3)
    mails = [Mail("press@example.org", one, b"Hello\r\n") for one in (ADA, BOB, CAI)]

    async def send() -> None:
        connection = await SmtpConnection.open(Relay.from_url("smtp://127.0.0.1"))
        for mail, following in zip(mails, [*mails[1:], None], strict=True):
            await connection.envelope(mail)
            assert (await connection.content(mail, following)).completed
        await connection.quit()

    with loop_before(relay) as loop:
        loop.run_until_complete(send())
    assert [one.recipient for one in relay.taken] == [ADA, BOB, CAI]


@pytest.mark.parametrize("cuts", [None, 1, 2, 3])
def test_a_dot_is_told_of_before_its_answer_and_after(cuts: object) -> None:
    relay = ScriptedRelay(VirtualClock(), cuts=cuts)
    told: list[tuple[int, Moment, int, int]] = []

    def tell(number: int, moment: Moment, protocol: asyncio.Protocol) -> None:
        assert isinstance(protocol, Client)
        told.append((number, moment, len(relay.taken), protocol.codes.count("250")))

    relay.at_dot = tell
    said(relay, *WHOLE, *WHOLE)
    assert told == [
        (0, "before", 1, 2),
        (0, "after", 1, 3),
        (1, "before", 2, 5),
        (1, "after", 2, 6),
    ]


def test_a_healed_relay_has_closed_its_connections_and_accepts_everything() -> None:
    relay = ScriptedRelay(
        VirtualClock(),
        lambda *_: Answer("554 5.0.0 No"),
        connections=1,
        messages_a_second=0.001,
    )

    async def heal(loop: VirtualLoop) -> None:
        client = Client()
        await loop.create_connection(lambda: client)
        await asyncio.sleep(1)
        relay.heal()
        await asyncio.sleep(1)
        assert client.codes == []
        assert client.closed

    with loop_before(relay) as loop:
        loop.run_until_complete(heal(loop))
    assert said(relay, *WHOLE, *WHOLE).codes[-1] == "250"
    assert len(relay.taken) == 2
