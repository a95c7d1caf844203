"""How much of a run's audio was skipped because nobody speaks there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """One column more."""
    op.add_column("runs", sa.Column("skipped_share", sa.Float(), nullable=True))


def downgrade() -> None:
    """One less."""
    op.drop_column("runs", "skipped_share")
