"""Limits on one recording and on the process that decodes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits on one file and on the worker that decodes it; far above any real recording."""

    size_bytes: int = 4 * 2**30
    decoded_s: float = 12 * 3600.0  # counted in decoded samples, not taken from the header
    channels: int = 64
    min_rate_hz: int = 1_000
    max_rate_hz: int = 768_000
    address_space_bytes: int = 2 * 2**30  # RLIMIT_AS of the worker
    files_per_worker: int = 10_000  # then it is restarted: leaks in C libraries stay small
    files_per_check: int = 500  # interval between checks against resident_bytes
    resident_bytes: int = 256 * 2**20  # a larger worker is restarted; 400 recordings left 72 MB
    start_s: float = 120.0  # for the worker's imports on a busy machine
    probe_s: float = 20.0
    work_base_s: float = 30.0
    work_per_audio_s: float = 0.05  # measured: 10 hours decode in 10-20 s, 0.0005 per second
    work_max_s: float = 900.0
    deadline_factor: float = 3.0  # wall seconds per second of work, on a loaded machine
    slowest_read_bytes_per_s: float = 20e6  # a busy network folder: the file is also hashed

    def deadline_s(self, *, size_bytes: int, declared_s: float | None) -> float:
        """Return the wall seconds allowed for reading and decoding a file of that size and length.

        A file that declares no length is treated as speech at 8 kbit/s.
        """
        audio_s = size_bytes / 1_000 if declared_s is None else declared_s
        work_s = self.work_base_s + self.work_per_audio_s * min(audio_s, self.decoded_s)
        read_s = size_bytes / self.slowest_read_bytes_per_s
        return self.deadline_factor * min(work_s, self.work_max_s) + read_s

    def refusal(self, *, channels: int, rate_hz: int) -> str | None:
        """Return the reason why audio of that shape is not decoded, or None."""
        if not 1 <= channels <= self.channels:
            return (
                f"{channels} channels (only 1 to {self.channels} can be decoded);"
                " convert the file to mono or stereo"
            )
        if not self.min_rate_hz <= rate_hz <= self.max_rate_hz:
            return (
                f"a sample rate of {rate_hz} Hz (only {self.min_rate_hz} to {self.max_rate_hz} Hz can be"
                " decoded); convert the file to 16000 Hz"
            )
        return None
