"""Keep the members of a batch in a table of their own, and the database of every release."""

import sqlalchemy as sa
from alembic import op

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Move the packed ids into a table whose rows are never rewritten."""
    op.create_table(
        "batch_members",
        sa.Column("batch_id", Id, autoincrement=False, nullable=False),
        sa.Column("ids", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name=op.f("fk_batch_members_batch_id_batches")
        ),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_batch_members")),
    )
    op.execute("INSERT INTO batch_members (batch_id, ids) SELECT id, members FROM batches")
    op.drop_column("batches", "members")
    op.drop_index("ix_batches_open", "batches")
    op.create_index(
        "ix_batches_open",
        "batches",
        ["release_id", "id"],
        unique=False,
        postgresql_where=sa.text("open"),
        sqlite_where=sa.text("open = 1"),
    )
    # Now set when a release is published: a restored copy must not start a release, either, that
    # the original has sent.
    op.execute("ALTER TABLE releases RENAME COLUMN frozen_in TO kept_in")
    op.add_column("releases", sa.Column("resumed_at", sa.BigInteger(), nullable=True))
