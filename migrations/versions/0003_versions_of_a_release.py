"""Let a release have versions, and every batch say which letter its members get."""

import sqlalchemy as sa
from alembic import op

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0003"
down_revision = "0002"

_LETTERS = "letter IN ('release', 'correction', 'retraction')"


def upgrade() -> None:
    """Add the columns of a correction; every release in the table is a first version."""
    with op.batch_alter_table("releases") as releases:
        releases.add_column(sa.Column("version", sa.Integer(), server_default="1", nullable=False))
        releases.add_column(
            sa.Column("letter", sa.String(length=10), server_default="release", nullable=False)
        )
        releases.add_column(sa.Column("replaces_id", Id, nullable=True))
        releases.create_foreign_key(
            op.f("fk_releases_replaces_id_releases"), "releases", ["replaces_id"], ["id"]
        )
        releases.create_check_constraint(op.f("ck_releases_letter"), _LETTERS)
        releases.create_check_constraint(
            op.f("ck_releases_version"), "(version = 1) = (replaces_id IS NULL)"
        )
        releases.drop_constraint(op.f("uq_releases_publisher_id"), type_="unique")
        releases.create_unique_constraint(
            op.f("uq_releases_publisher_id"), ["publisher_id", "reference", "version"]
        )
    op.create_index("uq_releases_replaces_id", "releases", ["replaces_id"], unique=True)
    # In SQL that both databases accept, so that neither rewrites its largest tables.
    for table in ("batches", "outcomes"):
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN letter VARCHAR(10) DEFAULT 'release' NOT NULL "
            f"CONSTRAINT ck_{table}_letter CHECK ({_LETTERS})"
        )
