"""A model of the load that a number of GPUs puts on the database, the broker and the network share."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86_400.0
LEASE_S = 90.0
RENEWALS_PER_LEASE = 4
TRANSACTIONS_PER_FILE = 4  # mark as being transcribed, result, published, name lookup
TRANSACTIONS_PER_BATCH = 6  # claim, send, lease, open run, release, close run
CONNECTIONS_PER_WORKER = 2  # one for the batch, one for the lease
BYTES_PER_S_OF_WAV = 32_000.0  # 16 kHz, mono, 16 bits
META_OPS_PER_FILE = 8  # stat, open, check, link, sync
SCANS_PER_DAY = DAY_S / 60.0  # a network share is polled every minute


@dataclass(frozen=True, slots=True)
class Measured:
    """Capacity of one GPU and of the shared parts; replace the defaults by your own figures."""

    realtime_factor: float = 90.0  # seconds of audio per second of one GPU
    duty: float = 0.8  # share of the day in which the GPUs are busy
    database_tx_s: float = 271.0
    database_connections: int = 97  # PostgreSQL's default of 100 minus 3 reserved for superusers
    broker_messages_s: float = 89.0
    share_bytes_s: float = 118e6  # 1 GbE
    share_entries_s: float = 10_000.0  # entries scanned per second over NFS
    batch_s: float = 180.0  # time of one GPU per batch
    days_kept: float = 1.0  # before finished recordings leave the inbox


@dataclass(frozen=True, slots=True)
class Load:
    """The load that a number of GPUs puts on the shared parts."""

    gpus: int
    files_per_day: float
    files_s: float
    batches_s: float
    share_bytes_s: float
    meta_ops_s: float
    database_tx_s: float
    connections: int
    messages_s: float
    scan_s: float  # duration of a full scan

    def used(self, measured: Measured) -> dict[str, float]:
        """Return the used share of each part's capacity; above 1 the part is the bottleneck."""
        return {
            "inbox scan": self.scan_s / (DAY_S / SCANS_PER_DAY),
            "database connections": self.connections / measured.database_connections,
            "share bandwidth": self.share_bytes_s / measured.share_bytes_s,
            "database transactions": self.database_tx_s / measured.database_tx_s,
            "broker messages": self.messages_s / measured.broker_messages_s,
        }


def load_of(gpus: int, *, audio_s: float, measured: Measured) -> Load:
    """Return the load of GPUs that are busy with files of `audio_s` seconds each."""
    processed_s = gpus * measured.realtime_factor * measured.duty  # seconds of audio per second
    files_s = processed_s / audio_s
    batches_s = gpus * measured.duty / measured.batch_s
    renewals_s = gpus * RENEWALS_PER_LEASE / LEASE_S * 2  # lease and heartbeat
    entries = files_s * DAY_S * measured.days_kept * 3  # the recording and two transcripts
    return Load(
        gpus=gpus,
        files_per_day=files_s * DAY_S,
        files_s=files_s,
        batches_s=batches_s,
        share_bytes_s=processed_s * BYTES_PER_S_OF_WAV,
        meta_ops_s=files_s * META_OPS_PER_FILE,
        database_tx_s=files_s * TRANSACTIONS_PER_FILE
        + batches_s * TRANSACTIONS_PER_BATCH
        + renewals_s,
        connections=gpus * CONNECTIONS_PER_WORKER + 3,  # 3 for the dispatcher
        messages_s=batches_s,
        scan_s=entries / measured.share_entries_s,
    )


def gpus_needed(files_per_day: float, *, audio_s: float, measured: Measured) -> float:
    """Return the number of GPUs needed for files of `audio_s` seconds each."""
    return files_per_day * audio_s / (measured.realtime_factor * measured.duty * DAY_S)
