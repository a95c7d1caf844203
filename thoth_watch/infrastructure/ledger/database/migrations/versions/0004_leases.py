"""Add leases, under which remote workers take batches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from thoth_watch.infrastructure.ledger.database import column_types as types

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add two columns, two tables, and an index for a query that runs every second."""
    op.add_column("batches", sa.Column("sent_at", types.UtcDateTime(), nullable=True))
    op.add_column("batches", sa.Column("lease_until", types.UtcDateTime(), nullable=True))
    op.create_index(op.f("ix_batches_state"), "batches", ["state"], unique=False)
    op.create_table(
        "hearings",
        sa.Column("sha256", types.PlainText(), nullable=False),
        sa.Column("fingerprint", types.PlainText(), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_hearings_batch_id")),
        sa.PrimaryKeyConstraint("sha256", "fingerprint", name=op.f("pk_hearings")),
    )
    op.create_table(
        "workers",
        sa.Column("name", types.PlainText(), nullable=False),
        sa.Column("host", types.PlainText(), nullable=False),
        sa.Column("process_id", sa.Integer(), nullable=False),
        sa.Column("device", types.PlainText(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=False),
        sa.Column("seen_at", types.UtcDateTime(), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_workers_batch_id")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )


def downgrade() -> None:
    """Drop the leases; run this only while no worker is running."""
    op.drop_table("workers")
    op.drop_table("hearings")
    op.drop_index(op.f("ix_batches_state"), "batches")
    op.drop_column("batches", "lease_until")
    op.drop_column("batches", "sent_at")
