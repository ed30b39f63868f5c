"""Give each new subscription a random number that its links are signed with."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add a column that processes of before leave null, as in the rows that are there already."""
    op.add_column("subscriptions", sa.Column("nonce", sa.BigInteger(), nullable=True))
