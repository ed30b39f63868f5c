"""Let a press room have a logo and a colour of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add both columns to the press rooms; without a logo and colour, they look as before."""
    op.add_column("publishers", sa.Column("logo_url", sa.String(length=2000), nullable=True))
    op.add_column("publishers", sa.Column("accent", sa.String(length=7), nullable=True))
