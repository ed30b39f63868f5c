"""Names for databases that are copies of one that was migrated once."""

from __future__ import annotations

import secrets

from sqlalchemy import create_engine, text


def rename(url: str) -> None:
    """Give a fresh copy of a migrated database a name of its own, as its migration would have."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            renamed = text("UPDATE generation SET name = :name")
            connection.execute(renamed, {"name": secrets.token_hex(16)})
    finally:
        engine.dispose()
