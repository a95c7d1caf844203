"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from thoth_watch.infrastructure.ledger.database import column_types as types

revision = "0001"
down_revision = None

STATE = (
    "state IN ('SEEN', 'READY', 'CLAIMED', 'RESULT', 'DONE', 'RETRY', 'FAILED', 'QUARANTINED', "
    "'REFUSED', 'CONFLICT', 'GONE')"
)

# rounded as NUMERIC: PostgreSQL rounds no other type to a number of decimal places
RUN_SUMMARY = """
CREATE VIEW run_summary AS
SELECT
    id,
    started_at,
    status,
    CASE WHEN engine <> engine_asked THEN engine || ' (asked: ' || engine_asked || ')'
         ELSE engine_asked END AS engine,
    model,
    device,
    precision,
    files_ok,
    files_failed,
    round(CAST(audio_s AS NUMERIC), 1) AS audio_s,
    round(CAST(wall_s AS NUMERIC), 1) AS wall_s,
    round(CAST(realtime_factor AS NUMERIC), 1) AS realtime_factor,
    round(CAST(files_per_min AS NUMERIC), 1) AS files_per_min,
    json_array_length(fallbacks) AS fallbacks,
    error
FROM runs
ORDER BY id
"""

ENGINE_SUMMARY = """
CREATE VIEW engine_summary AS
SELECT
    engine,
    device,
    precision,
    count(*) AS runs,
    sum(files_ok) AS files,
    round(CAST(sum(audio_s) / 3600 AS NUMERIC), 3) AS audio_hours,
    round(CAST(avg(realtime_factor) AS NUMERIC), 1) AS mean_realtime_factor,
    round(CAST(60 * sum(files_ok) / nullif(sum(wall_s), 0) AS NUMERIC), 1) AS files_per_min
FROM runs
WHERE status IN ('DONE', 'PARTIAL')
GROUP BY engine, device, precision
ORDER BY engine, device, precision
"""

FAILURES = """
CREATE VIEW failures AS
SELECT id, path, state, reason, attempts, crashes, deaths, next_try_at, updated_at
FROM files
WHERE state <> 'DONE'
ORDER BY path
"""


def upgrade() -> None:
    """Create the tables, then the views on them."""
    op.create_table(
        "batches",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner", types.PlainText(), nullable=False),
        sa.Column("claimed_at", types.UtcDateTime(), nullable=False),
        sa.Column("claim_no", sa.BigInteger(), nullable=False),
        sa.Column("state", types.PlainText(), nullable=False),
        sa.CheckConstraint(
            "state IN ('OPEN', 'CLOSED', 'RELEASED', 'DEAD')", name=op.f("ck_batches_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=True),
        sa.Column("started_at", types.UtcDateTime(), nullable=False),
        sa.Column("finished_at", types.UtcDateTime(), nullable=True),
        sa.Column("status", types.PlainText(), nullable=False),
        sa.Column("engine", types.PlainText(), nullable=True),
        sa.Column("engine_asked", types.PlainText(), nullable=False),
        sa.Column("model", types.PlainText(), nullable=True),
        sa.Column("model_asked", types.PlainText(), nullable=False),
        sa.Column("model_revision", types.PlainText(), nullable=True),
        sa.Column("device", types.PlainText(), nullable=True),
        sa.Column("device_asked", types.PlainText(), nullable=False),
        sa.Column("device_name", types.PlainText(), nullable=True),
        sa.Column("precision", types.PlainText(), nullable=True),
        sa.Column("precision_asked", types.PlainText(), nullable=False),
        sa.Column("mixed_precision", types.PlainText(), nullable=True),
        sa.Column("batch_size", sa.Integer(), nullable=True),
        sa.Column("num_processes", sa.Integer(), nullable=True),
        sa.Column("is_main_process", sa.Boolean(), nullable=True),
        sa.Column("files_ok", sa.Integer(), nullable=False),
        sa.Column("files_failed", sa.Integer(), nullable=False),
        sa.Column("audio_s", sa.Float(), nullable=True),
        sa.Column("wall_s", sa.Float(), nullable=True),
        sa.Column("load_s", sa.Float(), nullable=True),
        sa.Column("queue_s", sa.Float(), nullable=True),
        sa.Column("decode_s", sa.Float(), nullable=True),
        sa.Column("features_s", sa.Float(), nullable=True),
        sa.Column("encode_s", sa.Float(), nullable=True),
        sa.Column("generate_s", sa.Float(), nullable=True),
        sa.Column("write_s", sa.Float(), nullable=True),
        sa.Column("realtime_factor", sa.Float(), nullable=True),
        sa.Column("files_per_min", sa.Float(), nullable=True),
        sa.Column("tokens", sa.BigInteger(), nullable=True),
        sa.Column("peak_rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("peak_gpu_bytes", sa.BigInteger(), nullable=True),
        sa.Column("fallbacks", sa.JSON(), nullable=False),
        sa.Column("host", types.PlainText(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("error", types.PlainText(), nullable=True),
        sa.CheckConstraint(
            "status IN ('RUNNING', 'DONE', 'PARTIAL', 'FAILED', 'INTERRUPTED')",
            name=op.f("ck_runs_status"),
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_runs_batch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_started_at"), "runs", ["started_at"], unique=False)
    op.create_index(op.f("ix_runs_status"), "runs", ["status"], unique=False)
    op.create_table(
        "files",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("path", types.PlainText(), nullable=False),
        sa.Column("path_raw", types.RawPath(), nullable=False),
        sa.Column("inbox", types.PlainText(), nullable=False),
        sa.Column("inbox_raw", types.RawPath(), nullable=False),
        sa.Column("state", types.PlainText(), nullable=False),
        sa.Column("reason", types.PlainText(), nullable=False),
        sa.Column("sha256", types.PlainText(), nullable=True),
        sa.Column("fingerprint", types.PlainText(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("modified_ns", types.Nanoseconds(), nullable=True),
        sa.Column("changed_ns", types.Nanoseconds(), nullable=True),
        sa.Column("device_no", types.Unsigned64(), nullable=True),
        sa.Column("inode", types.Unsigned64(), nullable=True),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("setbacks", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("claim_no", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("first_seen_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", types.UtcDateTime(), nullable=False),
        sa.Column("ready_at", types.UtcDateTime(), nullable=True),
        sa.Column("done_at", types.UtcDateTime(), nullable=True),
        sa.Column("next_try_at", types.UtcDateTime(), nullable=True),
        sa.Column("updated_at", types.UtcDateTime(), nullable=False),
        sa.CheckConstraint("state = 'DONE' OR trim(reason) <> ''", name=op.f("ck_files_reason")),
        sa.CheckConstraint(
            STATE,
            name=op.f("ck_files_state"),
        ),
        sa.CheckConstraint(
            "attempts >= 0 AND crashes >= 0 AND deaths >= 0 AND setbacks >= 0",
            name=op.f("ck_files_counts"),
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_files_batch_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_files_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
        sa.UniqueConstraint("path_raw", name=op.f("uq_files_path_raw")),
    )
    op.create_index(op.f("ix_files_inbox_raw"), "files", ["inbox_raw"], unique=False)
    op.create_index(op.f("ix_files_run_id"), "files", ["run_id"], unique=False)
    op.create_index(op.f("ix_files_sha256"), "files", ["sha256"], unique=False)
    op.create_index(op.f("ix_files_state"), "files", ["state"], unique=False)
    op.create_table(
        "results",
        sa.Column("sha256", types.PlainText(), nullable=False),
        sa.Column("fingerprint", types.PlainText(), nullable=False),
        sa.Column("transcript", sa.JSON(), nullable=False),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("language", types.PlainText(), nullable=False),
        sa.Column("verdict", types.PlainText(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_results_run_id")),
        sa.PrimaryKeyConstraint("sha256", "fingerprint", name=op.f("pk_results")),
    )
    op.create_table(
        "publications",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("file_id", sa.Integer(), nullable=False),
        sa.Column("format", types.PlainText(), nullable=False),
        sa.Column("path", types.PlainText(), nullable=False),
        sa.Column("path_raw", types.RawPath(), nullable=False),
        sa.Column("name_kind", types.PlainText(), nullable=False),
        sa.Column("sha256", types.PlainText(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("claim_no", sa.BigInteger(), nullable=False),
        sa.Column("published_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name=op.f("fk_publications_file_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publications")),
        sa.UniqueConstraint("path_raw", name=op.f("uq_publications_path_raw")),
    )
    op.create_index(op.f("ix_publications_file_id"), "publications", ["file_id"], unique=False)
    op.create_table(
        "run_files",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("file_id", sa.Integer(), nullable=False),
        sa.Column("path", types.PlainText(), nullable=False),
        sa.Column("state", types.PlainText(), nullable=False),
        sa.Column("reason", types.PlainText(), nullable=False),
        sa.Column("sha256", types.PlainText(), nullable=True),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("reused", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            STATE,
            name=op.f("ck_run_files_state"),
        ),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name=op.f("fk_run_files_file_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_files_run_id")),
        sa.PrimaryKeyConstraint("run_id", "file_id", name=op.f("pk_run_files")),
    )
    op.create_index(op.f("ix_run_files_file_id"), "run_files", ["file_id"], unique=False)
    op.create_table(
        "transitions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("file_id", sa.Integer(), nullable=False),
        sa.Column("at", types.UtcDateTime(), nullable=False),
        sa.Column("before", types.PlainText(), nullable=False),
        sa.Column("after", types.PlainText(), nullable=False),
        sa.Column("reason", types.PlainText(), nullable=False),
        sa.Column("claim_no", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name=op.f("fk_transitions_file_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transitions")),
    )
    op.create_index(op.f("ix_transitions_file_id"), "transitions", ["file_id"], unique=False)
    for view in (RUN_SUMMARY, ENGINE_SUMMARY, FAILURES):
        op.execute(view)


def downgrade() -> None:
    """Drop all views and tables, referencing tables first."""
    for view in ("failures", "engine_summary", "run_summary"):
        op.execute(f"DROP VIEW {view}")
    for table in (
        "transitions",
        "run_files",
        "publications",
        "results",
        "files",
        "runs",
        "batches",
    ):
        op.drop_table(table)
