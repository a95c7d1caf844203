"""Definitions of the ledger's tables; the migrations build exactly these."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
)

from thoth_watch.domain.run import RunStatus
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger.database.column_types import (
    Nanoseconds,
    PlainText,
    RawPath,
    Unsigned64,
    UtcDateTime,
)

APPLICATION_ID = 0x54484F54  # "THOT", in the header of every ledger file
SCHEMA_REVISION = "0004"  # the newest migration; readers require exactly this one


class BatchState(StrEnum):
    """State of a batch."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"  # its run was finished
    RELEASED = "RELEASED"  # its remaining files were released
    DEAD = "DEAD"  # its process was killed


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

batches = Table(
    "batches",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("owner", PlainText, nullable=False),
    Column("claimed_at", UtcDateTime, nullable=False),
    Column("claim_no", BigInteger, nullable=False),
    Column("state", PlainText, nullable=False),
    Column("sent_at", UtcDateTime),  # to a remote worker; NULL if the claiming process runs it
    Column("lease_until", UtcDateTime),  # by the database's clock; NULL until a worker takes it
    CheckConstraint(_one_of("state", BatchState), name="state"),
    Index(None, "state"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("batch_id", ForeignKey("batches.id")),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("status", PlainText, nullable=False),
    Column("engine", PlainText),  # columns of what was used are NULL if no engine was available
    Column("engine_asked", PlainText, nullable=False),
    Column("model", PlainText),
    Column("model_asked", PlainText, nullable=False),
    Column("model_revision", PlainText),
    Column("device", PlainText),
    Column("device_asked", PlainText, nullable=False),
    Column("device_name", PlainText),
    Column("precision", PlainText),
    Column("precision_asked", PlainText, nullable=False),
    Column("mixed_precision", PlainText),
    Column("batch_size", Integer),
    Column("num_processes", Integer),
    Column("is_main_process", Boolean),
    Column("files_ok", Integer, nullable=False),
    Column("files_failed", Integer, nullable=False),
    Column("audio_s", Float),
    Column("skipped_share", Float),
    Column("wall_s", Float),
    Column("load_s", Float),
    Column("queue_s", Float),
    Column("decode_s", Float),
    Column("features_s", Float),
    Column("encode_s", Float),
    Column("generate_s", Float),
    Column("write_s", Float),
    Column("realtime_factor", Float),  # seconds of audio per second of wall time
    Column("files_per_min", Float),
    Column("tokens", BigInteger),
    Column("peak_rss_bytes", BigInteger),
    Column("peak_gpu_bytes", BigInteger),
    Column("fallbacks", JSON, nullable=False),
    Column("host", PlainText, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("error", PlainText),
    CheckConstraint(_one_of("status", RunStatus), name="status"),
    Index(None, "started_at"),
    Index(None, "status"),
)

files = Table(
    "files",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", PlainText, nullable=False),  # for display
    Column("path_raw", RawPath, nullable=False),  # used by the program
    Column("inbox", PlainText, nullable=False),
    Column("inbox_raw", RawPath, nullable=False),
    Column("state", PlainText, nullable=False),
    Column("reason", PlainText, nullable=False),
    Column("sha256", PlainText),
    Column("fingerprint", PlainText),  # with sha256: its row in results
    Column("size_bytes", BigInteger),  # this and the next four are NULL for a refused entry
    Column("modified_ns", Nanoseconds),
    Column("changed_ns", Nanoseconds),
    Column("device_no", Unsigned64),
    Column("inode", Unsigned64),
    Column("duration_s", Float),  # as declared; as decoded once there is a result
    Column("attempts", Integer, nullable=False),  # at this version of the file
    Column("crashes", Integer, nullable=False),  # times it killed the decode worker
    Column("deaths", Integer, nullable=False),  # times the whole process died while it was claimed
    Column("setbacks", Integer, nullable=False),  # consecutive failures caused by the environment
    Column("generation", Integer, nullable=False),  # number of versions seen at this path
    Column("claim_no", BigInteger, nullable=False),  # fencing token: rejects stale writers
    Column("batch_id", ForeignKey("batches.id")),
    Column("run_id", ForeignKey("runs.id")),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    Column("ready_at", UtcDateTime),
    Column("done_at", UtcDateTime),
    Column("next_try_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("path_raw"),
    CheckConstraint(_one_of("state", State), name="state"),
    CheckConstraint("state = 'DONE' OR trim(reason) <> ''", name="reason"),
    CheckConstraint(
        "attempts >= 0 AND crashes >= 0 AND deaths >= 0 AND setbacks >= 0", name="counts"
    ),
    Index(None, "state"),
    Index(None, "inbox_raw"),
    Index(None, "run_id"),
    Index(None, "sha256"),
)

run_files = Table(
    "run_files",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("file_id", ForeignKey("files.id"), primary_key=True),
    Column("path", PlainText, nullable=False),
    Column("state", PlainText, nullable=False),
    Column("reason", PlainText, nullable=False),
    Column("sha256", PlainText),
    Column("duration_s", Float),
    Column("reused", Boolean, nullable=False),  # written from an earlier result
    CheckConstraint(_one_of("state", State), name="state"),
    Index(None, "file_id"),
)

results = Table(
    "results",
    metadata,
    Column("sha256", PlainText, primary_key=True),
    Column("fingerprint", PlainText, primary_key=True),
    Column("transcript", JSON, nullable=False),
    Column("provenance", JSON, nullable=False),
    Column("run_id", ForeignKey("runs.id")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("language", PlainText, nullable=False),
    Column("verdict", PlainText, nullable=False),
    Column("duration_s", Float, nullable=False),
)

unfinished = Table(
    "unfinished",
    metadata,
    Column("sha256", PlainText, primary_key=True),
    Column("fingerprint", PlainText, primary_key=True),
    Column("heard_s", Float, nullable=False),  # seconds of audio transcribed, from the start
    Column("so_far", JSON, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

hearings = Table(  # contents being transcribed, so that no other worker transcribes the same
    "hearings",
    metadata,
    Column("sha256", PlainText, primary_key=True),
    Column("fingerprint", PlainText, primary_key=True),
    Column("batch_id", ForeignKey("batches.id"), nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("name", PlainText, primary_key=True),
    Column("host", PlainText, nullable=False),
    Column("process_id", Integer, nullable=False),
    Column("device", PlainText, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),  # this and started_at by the database's clock
    Column("batch_id", ForeignKey("batches.id")),  # current batch; NULL while idle
)

publications = Table(
    "publications",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("file_id", ForeignKey("files.id"), nullable=False),
    Column("format", PlainText, nullable=False),
    Column("path", PlainText, nullable=False),
    Column("path_raw", RawPath, nullable=False),
    Column("name_kind", PlainText, nullable=False),
    Column("sha256", PlainText),  # of the written content; NULL while the name is only reserved
    Column("generation", Integer, nullable=False),
    Column("claim_no", BigInteger, nullable=False),  # of the claim that reserved it last
    Column("published_at", UtcDateTime),
    UniqueConstraint("path_raw"),
    Index(None, "file_id"),
)

transitions = Table(
    "transitions",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("file_id", ForeignKey("files.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("before", PlainText, nullable=False),
    Column("after", PlainText, nullable=False),
    Column("reason", PlainText, nullable=False),
    Column("claim_no", BigInteger, nullable=False),
    Index(None, "file_id"),
)
