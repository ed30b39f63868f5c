"""Keep the adaptive rate longer than the process that has found it lives."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add two columns to the row about the relay, which processes of before do not need."""
    op.add_column("relay", sa.Column("rate", sa.Double(), nullable=True))
    op.add_column("relay", sa.Column("rate_at", sa.BigInteger(), nullable=True))
