"""Answer those who follow already, and try mailboxes again that were not found."""

import sqlalchemy as sa
from alembic import op

from mailer.storage.types import Instant

_OPEN = sa.text("finished_at IS NULL")
_KINDS = "kind IN ('confirm', 'following', 'welcome', 'goodbye', 'manage', 'notice')"

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add two columns that processes of before do not read, and a kind of letter."""
    op.add_column("subscribers", sa.Column("tried_at", Instant(), nullable=True))
    op.add_column(
        "subscribers", sa.Column("tries", sa.Integer(), server_default="0", nullable=False)
    )
    tried = sa.text("tried_at IS NOT NULL")
    op.create_index(
        "ix_subscribers_tried_at",
        "subscribers",
        ["tried_at"],
        postgresql_where=tried,
        sqlite_where=tried,
    )
    # To change a constraint, SQLite recreates the table, and loses the WHERE of a partial index.
    op.drop_index("ix_outbox_open", "outbox")
    with op.batch_alter_table("outbox") as outbox:
        outbox.drop_constraint("kind", type_="check")
        outbox.create_check_constraint("kind", _KINDS)
    op.create_index("ix_outbox_open", "outbox", ["id"], postgresql_where=_OPEN, sqlite_where=_OPEN)
