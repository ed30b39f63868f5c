"""Let processes without Redis know which of them sets the adaptive rate."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add two columns to the row about the relay, which processes of before do not need."""
    op.add_column("relay", sa.Column("rate_setter_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "relay", sa.Column("others_accepted", sa.Integer(), nullable=False, server_default="0")
    )
