"""Keep the members of a batch apart from its position, and know every release's database."""

import sqlalchemy as sa
from alembic import op

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Move the packed ids into a table of their own, where nothing rewrites them."""
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
    # Now known from the publishing on; a copy may not begin what the original has sent, either.
    op.execute("ALTER TABLE releases RENAME COLUMN frozen_in TO kept_in")
    op.add_column("releases", sa.Column("resumed_at", sa.BigInteger(), nullable=True))
