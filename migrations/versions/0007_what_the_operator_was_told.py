"""Keep what the alert command was told, so that no other sweep tells it again."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add columns that processes of before do not need; what is paused by now counts as told."""
    op.add_column(
        "releases", sa.Column("told", sa.Boolean(), server_default=sa.true(), nullable=False)
    )
    op.add_column(
        "relay",
        sa.Column("overdue_told", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
