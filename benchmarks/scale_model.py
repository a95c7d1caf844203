"""How many files a day so many GPUs transcribe, and what each part of the set-up has to bear for that."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86_400.0
LEASE_S = 90.0
RENEWALS_PER_LEASE = 4
TRANSACTIONS_PER_FILE = 4  # hearing, result, published, and the look-up of its names
TRANSACTIONS_PER_BATCH = 6  # claim, send, lease, open the run, release, close the run
CONNECTIONS_PER_WORKER = 2  # the work, and the lease
BYTES_PER_S_OF_WAV = 32_000.0  # 16 kHz, mono, 16 bits
META_OPS_PER_FILE = 8  # looked at, opened, checked, linked, synced
SCANS_PER_DAY = DAY_S / 60.0  # of a polled share


@dataclass(frozen=True, slots=True)
class Measured:
    """What one of each can do; replace it by what your machines do."""

    realtime_factor: float = 90.0  # seconds of audio per second of one GPU
    duty: float = 0.8  # share of the day in which there is work
    database_tx_s: float = 271.0
    database_connections: int = 97  # PostgreSQL's 100, less those it keeps for its superuser
    broker_messages_s: float = 89.0
    share_bytes_s: float = 118e6  # 1 GbE
    share_entries_s: float = 10_000.0  # listed and looked at, over NFS
    batch_s: float = 180.0  # of one GPU
    days_kept: float = 1.0  # before finished recordings leave the inbox


@dataclass(frozen=True, slots=True)
class Load:
    """What so many GPUs ask of the rest of the set-up."""

    gpus: int
    files_per_day: float
    files_s: float
    batches_s: float
    share_bytes_s: float
    meta_ops_s: float
    database_tx_s: float
    connections: int
    messages_s: float
    scan_s: float  # of one look at everything that lies there

    def used(self, of: Measured) -> dict[str, float]:
        """The share of each part's capacity that is used; above 1 it is saturated, and so the limit."""
        return {
            "inbox scan": self.scan_s / (DAY_S / SCANS_PER_DAY),
            "database connections": self.connections / of.database_connections,
            "share bandwidth": self.share_bytes_s / of.share_bytes_s,
            "database transactions": self.database_tx_s / of.database_tx_s,
            "broker messages": self.messages_s / of.broker_messages_s,
        }


def load_of(gpus: int, *, audio_s: float, measured: Measured) -> Load:
    """What that many GPUs ask for that are kept busy with files of so many seconds each."""
    heard_s = gpus * measured.realtime_factor * measured.duty  # seconds of audio per second
    files_s = heard_s / audio_s
    batches_s = gpus * measured.duty / measured.batch_s
    renewals_s = gpus * RENEWALS_PER_LEASE / LEASE_S * 2  # the lease, and the sign of life
    entries = files_s * DAY_S * measured.days_kept * 3  # the recording and two transcripts
    return Load(
        gpus=gpus,
        files_per_day=files_s * DAY_S,
        files_s=files_s,
        batches_s=batches_s,
        share_bytes_s=heard_s * BYTES_PER_S_OF_WAV,
        meta_ops_s=files_s * META_OPS_PER_FILE,
        database_tx_s=files_s * TRANSACTIONS_PER_FILE
        + batches_s * TRANSACTIONS_PER_BATCH
        + renewals_s,
        connections=gpus * CONNECTIONS_PER_WORKER + 3,  # the dispatcher's
        messages_s=batches_s,
        scan_s=entries / measured.share_entries_s,
    )


def gpus_needed(files_per_day: float, *, audio_s: float, measured: Measured) -> float:
    """GPUs for that many files of so many seconds a day."""
    return files_per_day * audio_s / (measured.realtime_factor * measured.duty * DAY_S)
