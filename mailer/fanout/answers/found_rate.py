"""The adaptive rate in the row about the relay: for processes without Redis, and for later ones.

Without Redis, the first process that holds messages back sets the rate, and the others stand aside.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from mailer.fanout.answers.send_rate import SendRate
from mailer.storage.sql import NOW

FRESH_SECONDS = 3
"""A process that sets the rate notes it every second: one silent for longer sets it no more."""

# Of several processes, the one whose note stands in the row is the one that goes on.
_NOTE_RATE = {
    name: text(
        """
    UPDATE relay
    SET rate = CASE WHEN :is_found THEN :rate WHEN :is_held_back THEN rate END,
        rate_at = CASE WHEN :is_found THEN {now} ELSE rate_at END,
        rate_setter_at = CASE WHEN :goes_on THEN {now} END, others_accepted = 0
    WHERE id = 1 AND probe_after IS NULL
        AND (rate_setter_at IS NULL OR rate_setter_at = :noted_at
            OR rate_setter_at <= {now} - :fresh)
    RETURNING rate_setter_at
    """.replace("{now}", moment)
    )
    for name, moment in NOW.items()
}
_NOTE_ACCEPTED = text("UPDATE relay SET others_accepted = others_accepted + :accepted WHERE id = 1")


def note_rate(
    connection: Connection, send_rate: SendRate, noted_at: int | None, *, ends: bool
) -> int | None:
    """Note that this process sets the rate, unless another one does, and the rate if it is found.

    `noted_at` is what the last call returned: the moment of the note by the database's clock, in
    milliseconds; None if this process does not set the rate, or holds nothing back any more. A
    process that ends leaves the rate to later ones, and does not set it any more.
    """
    values = {
        "is_found": send_rate.found is not None,
        "rate": send_rate.found,
        "is_held_back": send_rate.is_held_back,
        "goes_on": send_rate.is_held_back and not ends,
        "noted_at": noted_at,
        "fresh": 1000 * FRESH_SECONDS,
    }
    return connection.execute(_NOTE_RATE[connection.dialect.name], values).scalar()


def note_accepted(connection: Connection, accepted: int) -> None:
    """Note what was accepted in the last minute of a process that stands aside from now on.

    A relay that counts by the minute has taken it from what the process that sets the rate can see.
    """
    connection.execute(_NOTE_ACCEPTED, {"accepted": accepted})
