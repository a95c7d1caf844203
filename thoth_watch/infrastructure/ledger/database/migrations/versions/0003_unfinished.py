"""Add a table for partial transcripts of long recordings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from thoth_watch.infrastructure.ledger.database import column_types as types

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "unfinished",
        sa.Column("sha256", types.PlainText(), nullable=False),
        sa.Column("fingerprint", types.PlainText(), nullable=False),
        sa.Column("heard_s", sa.Float(), nullable=False),
        sa.Column("so_far", sa.JSON(), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", "fingerprint", name=op.f("pk_unfinished")),
    )


def downgrade() -> None:
    """Drop the table: interrupted attempts start from the beginning."""
    op.drop_table("unfinished")
