"""Keep what the relay answers longer than a process lives, and letters to a press room."""

import sqlalchemy as sa
from alembic import op

from mailer.storage.types import Instant

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0006"
down_revision = "0005"

_OPEN = sa.text("finished_at IS NULL")
_DOUBTED = sa.text("doubted_at IS NOT NULL")
_REFUSED = sa.text("kind = 'refused'")
_KINDS = "kind IN ('confirm', 'welcome', 'goodbye', 'manage', 'notice')"


def upgrade() -> None:
    """Add the table `relay` with its one row, and columns that processes of before do not need."""
    relay = op.create_table(
        "relay",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("probe_after", sa.BigInteger(), nullable=True),
        sa.Column("probe_wait", sa.Integer(), server_default="0", nullable=False),
        sa.Column("probes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refused_since", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("id = 1", name="one_row"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_relay")),
    )
    op.bulk_insert(relay, [{"id": 1}])
    op.create_table(
        "alerts",
        sa.Column("cause", sa.String(length=80), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("cause", name=op.f("pk_alerts")),
    )
    op.add_column("publishers", sa.Column("notices", sa.String(length=320), nullable=True))
    op.add_column("releases", sa.Column("not_before", sa.BigInteger(), nullable=True))
    op.add_column("releases", sa.Column("rests", sa.Integer(), server_default="0", nullable=False))
    op.add_column("releases", sa.Column("story_sha256", sa.String(length=64), nullable=True))
    op.create_table(
        "past_outcomes",
        sa.Column("id", Id, nullable=False),
        sa.Column("release_id", Id, nullable=False),
        sa.Column("subscription_id", Id, nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.id"], name=op.f("fk_past_outcomes_release_id_releases")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_past_outcomes")),
    )
    op.create_index(
        "ix_past_outcomes_recipient", "past_outcomes", ["release_id", "subscription_id"]
    )
    op.add_column("batches", sa.Column("lost_at", sa.Integer(), nullable=True))
    op.add_column("batches", sa.Column("losses", sa.Integer(), server_default="0", nullable=False))
    op.add_column("outcomes", sa.Column("doubted_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "outcomes", sa.Column("marked", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column(
        "outcomes", sa.Column("unanswered", sa.Integer(), server_default="0", nullable=False)
    )
    op.create_index(
        "ix_outcomes_doubted",
        "outcomes",
        ["release_id"],
        postgresql_where=_DOUBTED,
        sqlite_where=_DOUBTED,
    )
    op.create_index(
        "ix_outcomes_refused",
        "outcomes",
        ["subscription_id"],
        postgresql_where=_REFUSED,
        sqlite_where=_REFUSED,
    )
    # To change a constraint, SQLite recreates the table, and loses the WHERE of a partial index.
    op.drop_index("ix_outbox_open", "outbox")
    with op.batch_alter_table("outbox") as outbox:
        outbox.alter_column("subscription_id", existing_type=Id, nullable=True)
        outbox.add_column(sa.Column("release_id", Id, nullable=True))
        outbox.create_foreign_key(
            op.f("fk_outbox_release_id_releases"), "releases", ["release_id"], ["id"]
        )
        outbox.drop_constraint("kind", type_="check")
        outbox.create_check_constraint("kind", _KINDS)
        outbox.create_check_constraint(
            "about", "(kind = 'notice') = (release_id IS NOT NULL AND subscription_id IS NULL)"
        )
    op.create_index("ix_outbox_open", "outbox", ["id"], postgresql_where=_OPEN, sqlite_where=_OPEN)
