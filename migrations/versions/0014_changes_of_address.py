"""Let a follower have the letters sent to another address."""

import sqlalchemy as sa
from alembic import op

from mailer.storage.types import Id, Instant

_OPEN = sa.text("finished_at IS NULL")
_CHANGES = sa.text("address_change_id IS NOT NULL")
_KINDS = (
    "kind IN ('confirm', 'following', 'welcome', 'goodbye', 'manage', 'move', 'moved', 'notice')"
)

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add tables, and kinds of letter with a column, that processes of before do not read."""
    op.create_table(
        "address_changes",
        sa.Column("id", Id, nullable=False),
        sa.Column("subscriber_id", Id, nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("is_way_back", sa.Boolean(), nullable=False),
        sa.Column("requested_at", Instant(), nullable=False),
        sa.Column("done_at", Instant(), nullable=True),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscriber_id"],
            ["subscribers.id"],
            name=op.f("fk_address_changes_subscriber_id_subscribers"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_changes")),
    )
    op.create_index("ix_address_changes_subscriber_id", "address_changes", ["subscriber_id"])
    op.create_table(
        "moving_subscriptions",
        sa.Column("address_change_id", Id, nullable=False),
        sa.Column("subscription_id", Id, nullable=False),
        sa.Column("goes_on", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["address_change_id"],
            ["address_changes.id"],
            name=op.f("fk_moving_subscriptions_address_change_id_address_changes"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name=op.f("fk_moving_subscriptions_subscription_id_subscriptions"),
        ),
        sa.PrimaryKeyConstraint(
            "address_change_id", "subscription_id", name=op.f("pk_moving_subscriptions")
        ),
    )
    op.create_index(
        "ix_moving_subscriptions_subscription_id", "moving_subscriptions", ["subscription_id"]
    )
    # To change a constraint, SQLite recreates the table, and loses the WHERE of a partial index.
    op.drop_index("ix_outbox_open", "outbox")
    with op.batch_alter_table("outbox") as outbox:
        outbox.add_column(sa.Column("address_change_id", Id, nullable=True))
        outbox.create_foreign_key(
            op.f("fk_outbox_address_change_id_address_changes"),
            "address_changes",
            ["address_change_id"],
            ["id"],
            ondelete="SET NULL",
        )
        outbox.drop_constraint("kind", type_="check")
        outbox.create_check_constraint("kind", _KINDS)
    op.create_index(
        "ix_outbox_address_change_id",
        "outbox",
        ["address_change_id"],
        postgresql_where=_CHANGES,
        sqlite_where=_CHANGES,
    )
    op.create_index("ix_outbox_open", "outbox", ["id"], postgresql_where=_OPEN, sqlite_where=_OPEN)
