"""Keep what was composed of a release until it is finished, for whatever process sends it."""

import sqlalchemy as sa
from alembic import op

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add a table that processes of before do not read."""
    op.create_table(
        "composed_letters",
        sa.Column("release_id", Id, nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("locale", sa.String(length=20), nullable=False),
        sa.Column("letter", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.id"], name=op.f("fk_composed_letters_release_id_releases")
        ),
        sa.PrimaryKeyConstraint(
            "release_id", "request_sha256", "locale", name=op.f("pk_composed_letters")
        ),
    )
