"""Count what a restored database would undo, so that an old one is recognised."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add an index, and a table of one row that processes of before do not read."""
    generation = op.create_table(
        "generation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("database_identity", sa.String(length=80)),
        sa.Column("runs_since", sa.String(length=32)),
        sa.CheckConstraint("id = 1", name=op.f("ck_generation_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
    )
    row = {"id": 1, "name": secrets.token_hex(16), "number": 1}
    op.bulk_insert(generation, [row])
    op.create_index(op.f("ix_releases_finished_at"), "releases", ["finished_at"])
