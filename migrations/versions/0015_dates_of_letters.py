"""Date letters when they leave, and not by the beginning of a long or paused release."""

import sqlalchemy as sa
from alembic import op

from mailer.storage.types import Instant

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add columns that processes of before neither read nor write."""
    op.add_column("batches", sa.Column("dated_at", sa.BigInteger()))
    op.add_column("uncertain", sa.Column("dated_at", sa.BigInteger()))
    op.add_column("outbox", sa.Column("dated_at", Instant()))
