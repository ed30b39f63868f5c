"""Keep the texts of a press room, the pauses of subscriptions, and erased addresses."""

import sqlalchemy as sa
from alembic import op

from mailer.storage.types import Instant

revision = "0005"
down_revision = "0004"

_OPEN = sa.text("finished_at IS NULL")


def upgrade() -> None:
    """Add the columns, the table `erased`, the letter `manage`, and an index for the archive."""
    op.add_column("publishers", sa.Column("about", sa.String(length=2000), nullable=True))
    op.add_column("publishers", sa.Column("contacts", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("publishers", sa.Column("privacy", sa.String(length=5000), nullable=True))
    op.add_column("subscriptions", sa.Column("paused_until", Instant(), nullable=True))
    op.create_table(
        "erased",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_erased"),
    )
    # To change a constraint, SQLite recreates the table, and loses the WHERE of a partial index.
    op.drop_index("ix_outbox_open", "outbox")
    with op.batch_alter_table("outbox") as outbox:
        outbox.drop_constraint("kind", type_="check")
        outbox.create_check_constraint(
            "kind", "kind IN ('confirm', 'welcome', 'goodbye', 'manage')"
        )
    op.create_index("ix_outbox_open", "outbox", ["id"], postgresql_where=_OPEN, sqlite_where=_OPEN)
    op.create_index("ix_releases_archive", "releases", ["publisher_id", "published_at", "id"])
