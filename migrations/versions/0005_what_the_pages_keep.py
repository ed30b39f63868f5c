"""Keep what a press room says of itself, who pauses, and who was erased."""

import sqlalchemy as sa
from alembic import op

from mailer.storage.types import Instant

revision = "0005"
down_revision = "0004"

_OPEN = sa.text("finished_at IS NULL")


def upgrade() -> None:
    """Add the columns, the erased, the letter that leads to one's data, and an index to read by."""
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
    # SQLite changes a constraint by making the table anew, and forgets what an index leaves out.
    op.drop_index("ix_outbox_open", "outbox")
    with op.batch_alter_table("outbox") as outbox:
        outbox.drop_constraint("kind", type_="check")
        outbox.create_check_constraint(
            "kind", "kind IN ('confirm', 'welcome', 'goodbye', 'manage')"
        )
    op.create_index("ix_outbox_open", "outbox", ["id"], postgresql_where=_OPEN, sqlite_where=_OPEN)
    op.create_index("ix_releases_archive", "releases", ["publisher_id", "published_at", "id"])
