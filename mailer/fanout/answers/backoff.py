"""The relay backoff: nothing is sent but one probe at a time while the relay refuses everybody.

All of it is in one row, with the adaptive rate, since a process knows its own connections alone,
and ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import TextClause

from mailer.fanout.answers.adaptive_rate import JUST_BELOW
from mailer.fanout.answers.found_rate import FRESH_SECONDS
from mailer.mail.addresses import domain
from mailer.storage.sql import NOW

_IN_A_ROW = 100
_DOMAINS = 3
_ANSWERED_SECONDS = 10
"""A relay that accepted something this short ago is well, whatever one connection heard."""
_FIRST_WAIT_SECONDS = 10
_LONGEST_WAIT_SECONDS = 300
_CALM_SECONDS = 3600
"""For so long after a backoff, answers to recipients begin none: a relay that greylists everybody
is walked through once."""
_REFUSED_SECONDS = 900
_RATE_SECONDS = 900
"""How long the adaptive rate is kept: who was put off for the second time comes after ten minutes.
"""
_MINUTE_SECONDS = 110
"""A relay that counts by the minute is probed with success at 10, 30 or 70 seconds, and each probe
waits for a sweep, ten seconds at most."""
_LEAST_RATE = 0.3
"""A relay that accepted fewer than twenty in a minute was rather out of order from the start."""
_PATIENCE_SECONDS = 30
"""How long releases and letters leave each other a turn that is not taken."""
_PROBES_AT_MOST = 600
"""At five minutes each: two days."""
_PROBES_IN_AN_HOUR = 15


@dataclass(slots=True)
class TemporaryRefusals:
    """Temporary refusals in a row to recipients of releases, over all connections of a process."""

    number: int = 0
    domains: set[str] = field(default_factory=set)

    def add(self, address: str) -> bool:
        """Count one; True if there are so many that the relay as a whole seems to refuse."""
        self.number += 1
        if len(self.domains) < _DOMAINS:
            self.domains.add(domain(address))
        return self.number >= _IN_A_ROW and len(self.domains) >= _DOMAINS

    def clear(self) -> None:
        """Start counting from zero, after any other answer."""
        if self.number:
            self.number = 0
            self.domains.clear()


def _by_dialect(statement: str) -> dict[str, TextClause]:
    return {name: text(statement.replace("{now}", moment)) for name, moment in NOW.items()}


# A backoff that took more than one probe, and no longer than a minute and the wait for a probe, may
# have been the rest of a relay's minute: the rate that it began with is kept.
_NOTE_ANSWER = _by_dialect("""
    UPDATE relay
    SET answered_at = moment, probe_after = NULL, probes = 0, refused_since = NULL,
        rate = CASE
            WHEN probe_after IS NULL
                OR (probe_wait > 4 * :first
                    AND rate_at > moment - :minute AND rate > :least) THEN rate
        END,
        ended_at = CASE WHEN probe_after IS NULL THEN ended_at ELSE moment END
    FROM (SELECT {now} AS moment) AS present
    WHERE id = 1
    RETURNING ended_at = answered_at AS ended, rate
    """)
_BEGIN = """
    UPDATE relay
    SET probe_after = {now} + :first, probe_wait = 2 * :first / 1000, probes = 0, rate = NULL,
        refused_since = CASE WHEN :permanent THEN coalesce(refused_since, {now}) END
    WHERE id = 1 AND probe_after IS NULL
    """
_BEGIN_BY_ANSWERS = _by_dialect(
    f"{_BEGIN} AND coalesce(ended_at, 0) < {{now}} - {_CALM_SECONDS * 1000}"
)
_BEGIN_BY_CONNECTION = _by_dialect(
    f"{_BEGIN} AND coalesce(answered_at, 0) < {{now}} - {_ANSWERED_SECONDS * 1000}"
)
_CLAIM_PROBE = _by_dialect("""
    UPDATE relay
    SET probe_after = {now} + 1000 * probe_wait, probes = probes + 1,
        probe_wait = CASE WHEN 2 * probe_wait < :longest THEN 2 * probe_wait ELSE :longest END
    WHERE id = 1 AND probe_after <= {now}
        AND (:alone OR probes % 2 = :turn OR probe_after <= {now} - :patience)
    RETURNING probes
    """)
_NOTE_REFUSED = _by_dialect("""
    UPDATE relay
    SET refused_since = CASE WHEN :permanent THEN coalesce(refused_since, {now}) END
    WHERE id = 1 AND probe_after IS NOT NULL
    RETURNING probes, {now} - refused_since AS refused_for
    """)
_END_LONG = _by_dialect("""
    UPDATE relay SET probe_after = NULL, probes = 0, refused_since = NULL, ended_at = {now}
    WHERE id = 1 AND probe_after IS NOT NULL AND probes >= :long
    """)
_NOTE_ACCEPTED = _by_dialect("""
    UPDATE relay SET rate = coalesce(rate, 0) + :rate, rate_at = {now}
    WHERE id = 1 AND probe_after IS NOT NULL
    """)
_STATE = _by_dialect("""
    SELECT probe_after IS NOT NULL AS lasts, coalesce(probe_after <= {now}, false) AS probe_is_due,
        {now} - ended_at AS ended_before,
        CASE WHEN rate_at > {now} - :kept THEN rate END AS rate,
        coalesce(rate_setter_at > {now} - :fresh, false) AS rate_is_set, others_accepted
    FROM relay
    WHERE id = 1
    """)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The state of the relay backoff, as the row has it at this moment."""

    lasts: bool = False
    probe_is_due: bool = False
    ended_before: int | None = None
    """How long ago the last one ended, in milliseconds."""
    rate: float | None = None
    """The adaptive rate that was found lately, in messages a second."""
    rate_is_set: bool = False
    """Whether a process holds messages back at this moment."""
    others_accepted: int = 0
    """What was accepted lately of processes that stand aside since."""


class Ended(NamedTuple):
    """A backoff that has just ended."""

    rate: float | None
    """What was accepted before it, a second, if it may have been the rest of a relay's minute."""


def read(connection: Connection) -> Backoff:
    """Read the state of the relay backoff."""
    kept = {"kept": _RATE_SECONDS * 1000, "fresh": FRESH_SECONDS * 1000}
    row = connection.execute(_STATE[connection.dialect.name], kept).one()
    return Backoff(
        lasts=bool(row.lasts),
        probe_is_due=bool(row.probe_is_due),
        ended_before=row.ended_before,
        rate=row.rate,
        rate_is_set=bool(row.rate_is_set),
        others_accepted=row.others_accepted,
    )


def note_accepted(connection: Connection, accepted: int) -> None:
    """Note what was accepted of a process in the minute before a backoff, which is added as a rate.

    A relay that counts by the minute refuses everybody, too, until the next one begins.
    """
    rate = JUST_BELOW * accepted / 60
    connection.execute(_NOTE_ACCEPTED[connection.dialect.name], {"rate": rate})


def note_answer(connection: Connection) -> Ended | None:
    """Note that the relay has just accepted a message; returns what is known if that ends it."""
    minute, least = _MINUTE_SECONDS * 1000, _LEAST_RATE
    values = {"first": _FIRST_WAIT_SECONDS, "minute": minute, "least": least}
    row = connection.execute(_NOTE_ANSWER[connection.dialect.name], values).one()
    return Ended(row.rate) if row.ended else None


def begin_by_answers(connection: Connection) -> bool:
    """Begin the backoff because many recipients were refused in a row; True if it began now."""
    values = {"first": _FIRST_WAIT_SECONDS * 1000, "permanent": False}
    statement = _BEGIN_BY_ANSWERS[connection.dialect.name]
    return bool(connection.execute(statement, values).rowcount)


def begin_by_connection(connection: Connection, *, permanent: bool) -> bool:
    """Begin the backoff because no connection could be used; False while others can be.

    `permanent` says that the relay answered 5yz to a connection or a log-in.
    """
    values = {"first": _FIRST_WAIT_SECONDS * 1000, "permanent": permanent}
    statement = _BEGIN_BY_CONNECTION[connection.dialect.name]
    return bool(connection.execute(statement, values).rowcount)


def end_long(connection: Connection) -> None:
    """End the backoff if it has lasted for about an hour."""
    connection.execute(_END_LONG[connection.dialect.name], {"long": _PROBES_IN_AN_HOUR})


def claim_probe(session: Session, *, letter: bool, alone: bool) -> int | None:
    """Claim the probe that is due, and return its number; None if none is.

    Letters and releases take turns, letters first, unless one of them is `alone` in waiting.
    """
    values = {
        "longest": _LONGEST_WAIT_SECONDS,
        "patience": _PATIENCE_SECONDS * 1000,
        "alone": alone,
        "turn": 0 if letter else 1,
    }
    return session.execute(_CLAIM_PROBE[session.get_bind().dialect.name], values).scalar()


def probe_failed(session: Session, *, permanent: bool) -> bool:
    """Note a probe that failed; True if everything that is sending has to pause.

    `permanent` says that the relay answered 5yz to the connection or the log-in.
    """
    statement = _NOTE_REFUSED[session.get_bind().dialect.name]
    row = session.execute(statement, {"permanent": permanent}).one_or_none()
    if row is None:
        return False
    if (row.refused_for or 0) < _REFUSED_SECONDS * 1000 and row.probes < _PROBES_AT_MOST:
        return False
    # Whatever is resumed has as long again.
    session.execute(text("UPDATE relay SET refused_since = NULL, probes = 0 WHERE id = 1"))
    return True
