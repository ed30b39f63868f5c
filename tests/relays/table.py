"""The table of relays that misbehave, a row for each."""

from __future__ import annotations

from typing import Any

from tests.relays import leaving, stories
from tests.relays.mail_servers import Exim, LimitedPostfix
from tests.relays.row import Row
from tests.relays.sick import SICK
from tests.support.misbehaviour import Rule, Stage

_NO = "554 5.7.1 Not from you"
_DEAD = "550 5.1.1 No such user"
_FULL = "452 4.2.2 Full"
_TOO_MANY = "421 4.7.0 Too many messages"
_STAGES: tuple[Stage, ...] = ("mail", "rcpt", "dot")
_CASE_2 = (
    Rule("rcpt", "451 4.3.0 Later", 0.05, chance=True),
    Rule("rcpt", _DEAD, 0.05),
    Rule("rcpt", "", 0.01, chance=True),
    Rule("dot", "", 0.01, chance=True, keeps=True),
)
_HUNDRED = 100
# Postfix counts nobody of its own networks, and loopback is one of them.
_COUNT_ALL = "smtpd_client_event_limit_exceptions =\n"
_SOME_REJECTED = (
    (
        "smtpd_recipient_restrictions = check_recipient_access regexp:{{"
        "{{/^p[0-9]*[05]3@/ 550 5.1.1 No such user}}, {{/^p[0-9]*77@/ 452 4.2.2 Full}}, "
        "{{/./ HOLD}}}}, permit\n"
        "header_checks = regexp:{{{{/^To: .*p[0-9]*31@/ REJECT}}}}\n"
    )
    .replace("{{", "{")
    .replace("}}", "}")
)
_REJECTED = r"^p[0-9]*([05]3|77|31)@"

_ONE = (
    Row(
        *(1, "R1", f"one recipient: `{_FULL}` at RCPT, for ever", stories.misbehave_throughout),
        (Rule("rcpt", _FULL, whom="p7@"),),
        short=True,
    ),
    Row(
        *(2, "R1", f"one recipient: `{_TOO_MANY}` at the dot, for ever"),
        stories.misbehave_throughout,
        (Rule("dot", _TOO_MANY, whom="p7@"),),
        database="postgresql",
    ),
    Row(
        *(3, "R2", "5 % `451 4.3.0` at random, 5 % dead, 1 % cut at RCPT, 1 % answers lost"),
        stories.misbehave_throughout,
        _CASE_2,
        followers=4_000,
        workers=2,
        database="postgresql",
    ),
    *(
        Row(
            *(number, "R4", f"`421` after 100 messages of each connection, at {stage}"),
            stories.misbehave_throughout,
            (Rule(stage, _TOO_MANY, messages=_HUNDRED),),
            followers=6_000,
        )
        for number, stage in enumerate(_STAGES, start=4)
    ),
)
_ALL = (
    Row(
        *(30, "R6, R7", f"`{_NO}` to everybody from some moment, mended, resumed"),
        stories.misbehave_from_a_moment_on,
        (Rule("rcpt", _NO),),
        followers=30_000,
        workers=2,
        database="postgresql",
        timed=False,
        short=True,
    ),
    Row(
        *(31, "R6, R8", f"`{_DEAD}` to everybody from some moment, mended, resumed"),
        stories.misbehave_from_a_moment_on,
        (Rule("rcpt", _DEAD),),
        followers=30_000,
        timed=False,
    ),
    Row(
        *(32, "R6", f"`{_NO}` to everybody from some moment, and stopped then"),
        stories.stop_while_all_is_refused,
        (Rule("rcpt", _NO),),
        followers=30_000,
        workers=2,
        database="postgresql",
        timed=False,
    ),
    Row(
        *(33, "R6", "all is well, and stopped in the middle", stories.stop_while_all_is_well),
        followers=30_000,
        timed=False,
    ),
    Row(
        *(34, "R33", "four connections allowed, `421` to others at the banner"),
        stories.misbehave_throughout,
        (Rule("banner", "421 4.7.0 Too many connections", connections=4),),
        followers=6_000,
        allowed=4,
    ),
    Row(
        *(35, "R33", "four connections allowed, `421` to others at the banner; two workers"),
        stories.misbehave_throughout,
        (Rule("banner", "421 4.7.0 Too many connections", connections=4),),
        followers=6_000,
        workers=2,
        database="postgresql",
        allowed=4,
    ),
    Row(
        *(36, "R35", "another press room's sender: `450 4.1.8` at MAIL"),
        stories.refuse_another_sender,
        (Rule("mail", "450 4.1.8 Unknown sender domain", whom="vika.example.org"),),
        followers=3_000,
    ),
    Row(
        *(37, "R37", "`552 5.3.4` at every MAIL, mended, resumed", stories.refuse_from_the_start),
        (Rule("mail", "552 5.3.4 Too big"),),
        timed=False,
    ),
    Row(
        *(38, "R44", "closed at every dot, its content read and thrown away; mended, resumed"),
        stories.refuse_from_the_start,
        (Rule("dot"),),
        database="postgresql",
        timed=False,
    ),
    Row(
        *(39, "", f"2 % `{_DEAD}` at RCPT: done", stories.misbehave_throughout),
        (Rule("rcpt", _DEAD, 0.02),),
        followers=30_000,
        database="postgresql",
        until_done=True,
    ),
    *(
        Row(
            *(number, "", f"20 % `{_DEAD}` at RCPT, {connections} connections: not paused"),
            stories.misbehave_throughout,
            (Rule("rcpt", _DEAD, 0.2),),
            followers=3_000,
            connections=connections,
        )
        for number, connections in ((40, 16), (41, 64), (42, 128))
    ),
)
_REAL = (
    Row(
        *(50, "R33", "Postfix, `smtpd_client_connection_count_limit = 4`"),
        stories.misbehave_throughout,
        limits=f"{_COUNT_ALL}smtpd_client_connection_count_limit = 4\n",
        relay_class=LimitedPostfix,
        followers=3_000,
        allowed=4,
    ),
    Row(
        *(51, "R38", "Postfix, `smtpd_client_connection_rate_limit = 10` (a minute)"),
        stories.misbehave_throughout,
        limits=f"{_COUNT_ALL}smtpd_client_connection_rate_limit = 10\n",
        relay_class=LimitedPostfix,
        followers=3_000,
        allowed=10,
    ),
    Row(
        *(52, "", "Postfix, 2 % rejected and 1 % put off at RCPT, 1 % rejected for their header"),
        stories.misbehave_throughout,
        limits=_SOME_REJECTED,
        sick=_REJECTED,
        relay_class=LimitedPostfix,
        followers=3_000,
        database="postgresql",
    ),
    Row(
        *(53, "R4", "Exim, `smtp_accept_max_per_connection = 50`", stories.misbehave_throughout),
        limits="smtp_accept_max_per_connection = 50\n",
        relay_class=Exim,
        followers=3_000,
    ),
    Row(
        *(54, "R33", "Exim, `smtp_accept_max_per_host = 4`", stories.misbehave_throughout),
        limits="smtp_accept_max_per_host = 4\n",
        relay_class=Exim,
        followers=3_000,
        allowed=4,
        database="postgresql",
    ),
)

_FIVE_SECONDS = f"{_COUNT_ALL}anvil_rate_time_unit = 5s\n"


def _throttle(number: int, name: str, rule: Rule, watched: float, **more: Any) -> Row:
    """A relay that takes so many messages a second, and refuses more."""
    name = f"takes {name}, `{rule.reply}` to others at {rule.stage}{more.pop('besides', '')}"
    takes = rule.beyond / rule.seconds
    # More than it takes, since whom it refuses is tried again after five minutes.
    followers = int(1.1 * takes * watched) + 2_000
    values = {"play": stories.throttle, "case": "R5", "followers": followers}
    own = {"rules": (rule,), "takes": takes, "watched": watched, "timed": False}
    return Row(number, name=name, **{**values, **own, **more})


_TWO: dict[str, Any] = {"workers": 2, "database": "postgresql"}
_ALONE = {**_TWO, "settings": {"REDIS_URL": ""}, "besides": ", without Redis"}
_TWENTY, _MANY = ("454 4.7.0 Rate exceeded", "451 4.7.500 Server busy"), "450 4.7.1 Too much"
_THROTTLES = (
    _throttle(60, "20 a second", Rule("rcpt", _TWENTY[0], beyond=20), 180),
    _throttle(61, "20 a second", Rule("mail", _TWENTY[1], beyond=20), 180, **_TWO),
    _throttle(62, "500 a second", Rule("rcpt", _MANY, beyond=500), 120, **_TWO),
    _throttle(63, "500 a second", Rule("dot", "452 4.5.3 Too many", beyond=500), 120),
    _throttle(64, "1 in 2 seconds", Rule("rcpt", _MANY, beyond=1, seconds=2), 300),
    _throttle(65, "1 in 2 seconds", Rule("mail", _MANY, beyond=1, seconds=2), 300, **_TWO),
    _throttle(66, "30 a minute", Rule("rcpt", _TWENTY[0], beyond=30, seconds=60), 300, **_TWO),
    _throttle(
        *(67, "20 a second, 10 later", Rule("rcpt", _TWENTY[0], beyond=20), 240),
        **_TWO,
        play=stories.throttle_and_halve,
    ),
    _throttle(78, "20 a second", Rule("mail", _TWENTY[1], beyond=20), 180, **_ALONE),
    _throttle(79, "1 in 2 seconds", Rule("rcpt", _MANY, beyond=1, seconds=2), 300, **_ALONE),
    _throttle(80, "30 a minute", Rule("mail", _MANY, beyond=30, seconds=60), 300, **_ALONE),
    *(
        Row(
            *(number, case, f"Postfix, `{limit} = 50` in 5 seconds", stories.throttle),
            limits=f"{_FIVE_SECONDS}{limit} = 50\n",
            relay_class=LimitedPostfix,
            # Postfix counts anew once more than five whole seconds have passed: after six.
            takes=50 / 6,
            watched=180,
            followers=4_000,
            timed=False,
        )
        for number, case, limit in (
            (68, "R39", "smtpd_client_message_rate_limit"),
            (69, "R40", "smtpd_client_recipient_rate_limit"),
        )
    ),
)

_WAIT, _FIRST_WAIT = 40, 30
"""The longest wait of the service here, and how long it waits at first before the dot."""


def _silent(number: int, name: str, rule: Rule, silence: float, **more: Any) -> Row:
    """A relay that says nothing more to a fifth of the recipients."""
    settings = {"MAILER_SMTP_TIMEOUT_SECONDS": str(_WAIT), **more.pop("settings", {})}
    own = {"rules": (rule,), "silence": silence, "settings": settings, "copies": 2}
    own |= {"play": stories.keep_silent, "followers": 200, "name": f"20 % silent {name}"}
    return Row(number, "19", **{**own, **more})


_SILENT = (
    _silent(70, "at RCPT, always", Rule("rcpt", "", 0.2, silent=True), _FIRST_WAIT + _WAIT),
    _silent(71, "at the dot, always", Rule("dot", "", 0.2, silent=True), _WAIT, **_TWO),
    _silent(
        *(72, "at RCPT, once", Rule("rcpt", "", 0.2, silent=True, times=1), _FIRST_WAIT),
        **_TWO,
    ),
    _silent(
        *(73, "at the dot, once, taken", Rule("dot", "", 0.2, silent=True, times=1, keeps=True)),
        _WAIT,
    ),
    _silent(
        *(74, "at RCPT, always; 20 connections allowed", Rule("rcpt", "", 0.2, silent=True)),
        _FIRST_WAIT + _WAIT,
        settings={"MAILER_RELAY_CONNECTIONS": "20"},
        **_TWO,
    ),
)
_LEAVING = (
    Row(
        *(75, "R13", "200 leave while 2 messages a second leave", leaving.leave_at_two_a_second),
        followers=600,
        watched=120,
        timed=False,
    ),
    Row(
        *(76, "19", "200 leave while the relay takes 20 s over each dot"),
        leaving.leave_while_each_dot_waits,
        followers=600,
        watched=120,
        timed=False,
    ),
    Row(
        *(77, "19", "200 leave, and the database is frozen for 60 s then"),
        leaving.leave_and_freeze_the_database,
        # A lease is lost for each connection that had a message on its way.
        copies=2,
        followers=3_000,
        watched=60,
        timed=False,
        **_TWO,
    ),
)
ROWS = (*_ONE, *SICK, *_ALL, *_REAL, *_THROTTLES, *_SILENT, *_LEAVING)
