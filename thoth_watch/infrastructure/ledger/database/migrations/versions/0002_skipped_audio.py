"""Add the share of a run's audio that was skipped as not speech."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column("runs", sa.Column("skipped_share", sa.Float(), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("runs", "skipped_share")
