"""Count the sign-ups of a mailbox and of a mail domain, however an address is written."""

import sqlalchemy as sa
from alembic import op

from mailer.storage.types import Instant

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add a table that processes of before do not read."""
    op.create_table(
        "sign_ups",
        sa.Column("id", Id, nullable=False),
        sa.Column("publisher_id", Id, nullable=False),
        sa.Column("mailbox", sa.String(length=32), nullable=False),
        sa.Column("domain", sa.String(length=32), nullable=True),
        sa.Column("at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["publisher_id"], ["publishers.id"], name=op.f("fk_sign_ups_publisher_id_publishers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_ups")),
    )
    op.create_index(op.f("ix_sign_ups_mailbox"), "sign_ups", ["mailbox", "at"])
    op.create_index(op.f("ix_sign_ups_domain"), "sign_ups", ["domain", "at"])
