"""The SMTP client, against the recording relay and against servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

from mailer.mail.smtp import Mail, NotAscii, SmtpConnection
from mailer.mail.smtp_protocol import Rejected, Reply, Unanswered
from mailer.relay import Relay as RelaySetting
from tests.mail.lines import OFFERS, speaking
from tests.relay import Relay

T = TypeVar("T")
FROM, ADA, BOB = "presse@example.org", "ada@example.org", "bob@example.com"
MESSAGE = b"Subject: Hei\r\n\r\nGod morgen.\r\n..\r\nSlutt.\r\n"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one piece of work in an event loop of its own."""
    return asyncio.run(asyncio.wait_for(work, 30))


async def hand_over(connection: SmtpConnection, to: str = ADA) -> Reply:
    """Send one message as far as the answer to its dot."""
    mail = Mail(FROM, to, MESSAGE)
    await connection.envelope(mail)
    return await connection.content(mail)


async def alone(relay: RelaySetting, to: str = ADA, wait: float = 10) -> Reply:
    """Open a connection, hand one message over, and hang up."""
    connection = await SmtpConnection.open(relay, longest_wait=wait)
    try:
        return await hand_over(connection, to)
    finally:
        connection.abort()


@pytest.mark.parametrize("pipelining", [True, False])
def test_messages_arrive_one_after_another_as_they_were_given(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, pipelining: bool
) -> None:
    monkeypatch.setattr(relay, "pipelining", pipelining)

    async def work() -> list[int]:
        connection = await SmtpConnection.open(RelaySetting.from_url(relay.url))
        codes = [(await hand_over(connection, to)).code for to in (ADA, BOB)]
        await connection.quit()
        return codes

    assert run(work()) == [250, 250]
    assert [(one.sender, one.recipient) for one in relay.received] == [(FROM, ADA), (FROM, BOB)]
    assert {one.message["Subject"] for one in relay.received} == {"Hei"}
    assert {one.message.get_content() for one in relay.received} == {"God morgen.\n.\nSlutt.\n"}
    assert relay.connections == 1


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
def test_the_next_message_goes_through_after_a_refusal(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, pipelining: bool, stage: Any
) -> None:
    monkeypatch.setattr(relay, "pipelining", pipelining)
    relay.answer(at=stage, reply="550 5.7.1 Not you", times=1)

    async def work() -> tuple[str, str | None]:
        connection = await SmtpConnection.open(RelaySetting.from_url(relay.url))
        try:
            refused: tuple[str, Reply] = ("dot", await hand_over(connection, ADA))
        except Rejected as problem:
            refused = (problem.stage, problem.reply)
        await hand_over(connection, BOB)
        await connection.quit()
        return refused[0], refused[1].enhanced

    assert run(work()) == (stage, "5.7.1")
    assert [one.recipient for one in relay.received] == [BOB]
    assert relay.connections == 1


def test_a_server_that_wants_a_body_for_nobody_gets_a_lone_dot(relay: Relay) -> None:
    relay.always_354 = True
    relay.answer(ADA, at="rcpt", reply="550 5.1.1 No such user")

    async def work() -> None:
        connection = await SmtpConnection.open(RelaySetting.from_url(relay.url))
        with pytest.raises(Rejected, match=r"5\.1\.1"):
            await hand_over(connection, ADA)
        await hand_over(connection, BOB)
        await connection.quit()

    run(work())
    assert [one.recipient for one in relay.received] == [BOB]


def test_a_message_that_is_cut_off_is_never_delivered(relay: Relay) -> None:
    async def work() -> None:
        connection = await SmtpConnection.open(RelaySetting.from_url(relay.url))
        mail = Mail(FROM, ADA, MESSAGE * 500_000)
        await connection.envelope(mail)
        sending = asyncio.create_task(connection.content(mail))
        await asyncio.sleep(0)
        connection.abort()
        with pytest.raises(Unanswered) as loss:
            await sending
        assert loss.value.stage == "data"
        await alone(RelaySetting.from_url(relay.url), BOB)

    run(work())
    assert [one.recipient for one in relay.received] == [BOB]


@pytest.mark.parametrize("runs", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_connection_that_is_lost_before_the_content_leaves_is_told_as_lost(
    relay: Relay, runs: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def work() -> None:
        connection = await SmtpConnection.open(RelaySetting.from_url(relay.url))
        mail = Mail(FROM, ADA, MESSAGE)
        await connection.envelope(mail)
        relay.break_connections()
        while not connection._protocol.transport.is_closing():
            await asyncio.sleep(0.01)
        with pytest.raises(Unanswered):
            await connection.content(mail)

    runs(work())
    assert not relay.received


@pytest.mark.parametrize("slowly", [False, True])
def test_replies_of_many_lines_are_read_to_the_last(slowly: bool) -> None:
    async def work() -> Reply:
        taken = b"250-2.0.0 First\r\n250-2.0.0 Second\r\n250 2.0.0 Taken as 42\r\n"
        async with speaking({".": taken, "EHLO": OFFERS}, slowly=slowly) as server:
            return await alone(server.relay())

    reply = run(work())
    assert (reply.code, reply.enhanced) == (250, "2.0.0")
    assert reply.text.splitlines()[-1] == "2.0.0 Taken as 42"


@pytest.mark.parametrize(
    "banner",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"\xff\x00\r\n", b"x" * 70_000],
)
def test_what_is_no_smtp_is_no_answer(banner: bytes) -> None:
    async def work() -> None:
        async with speaking({"banner": banner}) as server:
            with pytest.raises(Unanswered) as problem:
                await alone(server.relay())
            assert problem.value.stage == "connect"

    run(work())


STAGES = [
    ("banner", "connect"),
    ("EHLO", "connect"),
    ("MAIL", "mail"),
    ("RCPT", "rcpt"),
    ("DATA", "data"),
    (".", "dot"),
]


@pytest.mark.parametrize(("verb", "stage"), STAGES)
@pytest.mark.parametrize("reply", [None, b""], ids=["silent", "hangs up"])
def test_without_an_answer_the_stage_is_told(verb: str, stage: str, reply: bytes | None) -> None:
    async def work() -> None:
        async with speaking({verb: reply}) as server:
            with pytest.raises(Unanswered) as problem:
                await alone(server.relay(), wait=0.2)
            assert problem.value.stage == stage

    run(work())


@pytest.mark.parametrize("offers", [OFFERS, b"250 relay.example.org\r\n"], ids=["all", "step"])
@pytest.mark.parametrize(("verb", "stage"), STAGES[2:5])
def test_a_server_that_shuts_down_has_still_said_so(verb: str, stage: str, offers: bytes) -> None:
    """A 421 is followed by the end of the connection (RFC 5321 section 3.8)."""

    async def work() -> None:
        async with speaking({verb: b"421 4.3.2 Bye\r\n", "EHLO": offers}) as server:
            ending = _hangs_up_after(server.replies, verb)
            server.replies = ending
            with pytest.raises(Rejected) as problem:
                await alone(server.relay(), wait=0.2)
            assert (problem.value.stage, problem.value.reply.code) == (stage, 421)

    run(work())


def _hangs_up_after(replies: Any, verb: str) -> dict[str, bytes | None]:
    verbs = ["MAIL", "RCPT", "DATA", "."]
    silent = dict.fromkeys([*verbs[verbs.index(verb) + 1 :], "RSET"], b"")
    return {**replies, **silent}


def test_a_body_is_sent_only_after_354() -> None:
    async def work() -> list[str]:
        async with speaking({"DATA": b"250 2.0.0 OK\r\n"}) as server:
            with pytest.raises((Rejected, Unanswered)):
                await alone(server.relay(), wait=0.2)
            return server.heard

    assert "Subject: Hei" not in run(work())


@pytest.mark.parametrize(
    ("offers", "to", "parameters"),
    [
        (b"250 relay.example.org\r\n", ADA, ""),
        (b"250-relay\r\n250 SIZE\r\n", ADA, f" SIZE={len(MESSAGE)}"),
        (OFFERS, ADA, f" SIZE={len(MESSAGE)}"),
        (OFFERS, "bjørn@example.org", f" SIZE={len(MESSAGE)} SMTPUTF8"),
    ],
)
def test_parameters_are_sent_only_where_they_are_understood(
    offers: bytes, to: str, parameters: str
) -> None:
    async def work() -> list[str]:
        async with speaking({"EHLO": offers}) as server:
            await alone(server.relay(), to)
            return server.heard

    heard = run(work())
    assert f"MAIL FROM:<{FROM}>{parameters}" in heard
    assert f"RCPT TO:<{to}>" in heard


def test_an_address_beyond_ascii_is_not_sent_where_it_is_not_understood() -> None:
    async def work() -> list[str]:
        async with speaking() as server:
            connection = await SmtpConnection.open(server.relay())
            with pytest.raises(NotAscii, match="SMTPUTF8"):
                await connection.envelope(Mail(FROM, "bjørn@example.org", MESSAGE))
            await hand_over(connection)
            await connection.quit()
            return server.heard

    assert [line.split()[0] for line in run(work())] == [
        "EHLO",
        "MAIL",
        "RCPT",
        "DATA",
        ".",
        "QUIT",
    ]


def test_the_next_envelope_leaves_with_the_dot_before_the_dot_is_answered() -> None:
    """The server answers nothing to the dot until it has heard the next DATA."""

    async def work() -> list[str]:
        async with speaking({"EHLO": OFFERS}) as server:
            connection = await SmtpConnection.open(server.relay(), longest_wait=2)
            first, second = Mail(FROM, ADA, MESSAGE), Mail(FROM, BOB, MESSAGE)
            await connection.envelope(first)
            server.quiet = (".", "DATA")
            reply = await connection.content(first, second)
            assert (reply.code, connection.envelope_sent_ahead) == (250, True)
            await connection.envelope(second)
            assert not connection.envelope_sent_ahead
            connection.abort()
            return server.heard

    heard = run(work())
    assert heard[heard.index(".") + 1 :] == [
        f"MAIL FROM:<{FROM}> SIZE={len(MESSAGE)}",
        f"RCPT TO:<{BOB}>",
        "DATA",
    ]


def test_a_refused_dot_leaves_the_envelope_behind_it_valid(relay: Relay) -> None:
    relay.answer(ADA, at="dot", reply="550 5.7.1 Not this")

    async def work() -> list[int]:
        connection = await SmtpConnection.open(RelaySetting.from_url(relay.url))
        first, second = Mail(FROM, ADA, MESSAGE), Mail(FROM, BOB, MESSAGE)
        await connection.envelope(first)
        codes = [(await connection.content(first, second)).code]
        await connection.envelope(second)
        codes.append((await connection.content(second)).code)
        await connection.quit()
        return codes

    assert run(work()) == [550, 250]
    assert [one.recipient for one in relay.received] == [BOB]


def test_a_connection_that_waits_for_one_message_is_not_used_for_another(relay: Relay) -> None:
    async def work() -> None:
        connection = await SmtpConnection.open(RelaySetting.from_url(relay.url))
        first = Mail(FROM, ADA, MESSAGE)
        await connection.envelope(first)
        await connection.content(first, Mail(FROM, BOB, MESSAGE))
        with pytest.raises(Unanswered):
            await connection.envelope(Mail(FROM, BOB, MESSAGE))

    run(work())
    assert [one.recipient for one in relay.received] == [ADA]


def test_a_server_that_knows_no_ehlo_is_greeted_by_helo() -> None:
    async def work() -> tuple[Reply, list[str]]:
        changes = {"EHLO": b"500 5.5.1 What?\r\n", "HELO": b"250 relay.example.org\r\n"}
        async with speaking(changes) as server:
            return await alone(server.relay()), server.heard

    reply, heard = run(work())
    assert reply.code == 250
    assert [line.split()[0] for line in heard[:3]] == ["EHLO", "HELO", "MAIL"]
    # RFC 5321 section 4.1.1.1: both name the client in the same way.
    assert heard[1].split()[1:] == heard[0].split()[1:]


def test_a_recipient_beyond_ascii_arrives(relay: Relay) -> None:
    run(alone(RelaySetting.from_url(relay.url), "bjørn@example.org"))
    assert [one.recipient for one in relay.received] == ["bjørn@example.org"]
