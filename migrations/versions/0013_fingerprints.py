"""Remember a fingerprint of each key, so that a changed or lost one is noticed."""

import sqlalchemy as sa
from alembic import op

from mailer.storage.types import Instant

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add a table that processes of before do not read."""
    op.create_table(
        "fingerprints",
        sa.Column("purpose", sa.String(length=10), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("since", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("purpose", "sha256", name=op.f("pk_fingerprints")),
    )
