"""The `AudioDecoder` port: files are opened here and decoded in a worker process."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from typing import Any

from thoth_watch.application.ports import Recording
from thoth_watch.domain.audio import AudioConfig, AudioFile, AudioInfo
from thoth_watch.domain.errors import (
    AudioError,
    DecoderCrashed,
    FileUnreadable,
    NotAudio,
    RetryLater,
    ThothError,
)
from thoth_watch.infrastructure.audio.channels import decode_channels
from thoth_watch.infrastructure.audio.limits import DecodeLimits
from thoth_watch.infrastructure.audio.safe_open import check_unchanged, open_recording
from thoth_watch.infrastructure.audio.spool import Spool, spool_write_error
from thoth_watch.infrastructure.audio.worker_process import WorkerProcess

log = logging.getLogger(__name__)


class WorkerDecoder:
    """Decodes in one worker process and reads headers in another, each started when first needed.

    So a long decode does not keep the watcher waiting. Any thread may call any method.
    """

    def __init__(
        self, config: AudioConfig | None = None, *, limits: DecodeLimits | None = None
    ) -> None:
        self._config = config or AudioConfig()
        self._limits = limits or DecodeLimits()
        self._decode_worker = WorkerProcess(self._limits)
        self._probe_worker = WorkerProcess(self._limits)
        self._decode_lock, self._probe_lock = threading.Lock(), threading.Lock()
        self._is_closed = False
        self._finalizer = weakref.finalize(
            self, _stop_workers, self._decode_worker, self._probe_worker
        )

    @property
    def worker_pid(self) -> int | None:
        """The process that decodes, None before the first file."""
        return self._decode_worker.pid

    def probe(self, file: AudioFile) -> float | None:
        """Seconds that the file declares; None where it does not say or cannot be read."""
        try:
            descriptor = open_recording(file)
            try:
                with self._probe_lock:
                    answer = self._call(
                        self._probe_worker,
                        {"do": "probe"},
                        (descriptor,),
                        file,
                        self._limits.probe_s,
                    )
            finally:
                os.close(descriptor)
        except (ThothError, OSError, ValueError) as error:
            log.debug(
                "no length from a header", extra={"event": "probe_failed", "error": str(error)}
            )
            return None
        declared_s = answer.get("declared_s")
        return None if declared_s is None else float(declared_s)

    def decode(self, file: AudioFile, *, key: int = 0) -> Recording:
        """Read and decode one file to its end; its samples are a read-only memory map.

        Raises NotAudio, FileChanged, DecoderCrashed, FileUnreadable, FileGone, or TryLater when the
        disk is full, the inbox is away or no worker starts.
        """
        return self._decode_one(file, key=key, channel=None)

    def decode_channels(self, file: AudioFile, *, key: int = 0) -> Recording:
        """As `decode`, with each channel that has something of its own to say under `channels`.

        The file is read once for each of them.
        """
        return decode_channels(lambda channel: self._decode_one(file, key=key, channel=channel))

    def _decode_one(self, file: AudioFile, *, key: int, channel: int | None) -> Recording:
        descriptor = open_recording(file)
        try:
            spool = Spool()
            try:
                return self._decode(file, descriptor, spool, key, channel)
            except BaseException:
                spool.close()
                raise
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """End the worker processes; a file that is being decoded fails with DecoderCrashed."""
        self._is_closed = True
        self._decode_worker.kill()
        self._probe_worker.kill()
        with self._decode_lock, self._probe_lock:
            self._finalizer()

    def __enter__(self) -> WorkerDecoder:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _decode(
        self, file: AudioFile, descriptor: int, spool: Spool, key: int, channel: int | None
    ) -> Recording:
        """Have the worker fill the spool."""
        request = {
            "do": "decode",
            "rate_hz": self._config.sample_rate,
            "block_s": self._config.buffer_duration,
            "channel": channel,
        }
        with self._decode_lock:
            answer = self._call(
                self._decode_worker, request, (descriptor, spool.fileno()), file, None
            )
        check_unchanged(descriptor, file)
        if "audio" not in answer:
            raise _error(answer, self._limits)
        sound = answer["audio"]
        return Recording(
            key=key,
            samples=spool.samples(),
            sha256=answer["sha256"],
            info=AudioInfo(
                declared_s=sound["declared_s"],
                decoded_s=sound["decoded_s"],
                source_rate_hz=sound["source_rate_hz"],
                source_channels=sound["source_channels"],
                codec=sound["codec"],
                decoder=sound["decoder"],
                warnings=tuple(sound["warnings"]),
            ),
            close=spool.close,
        )

    def _call(
        self,
        worker: WorkerProcess,
        request: dict[str, Any],
        descriptors: tuple[int, ...],
        file: AudioFile,
        deadline_s: float | None,
    ) -> dict[str, Any]:
        """The worker's answer, unless we are closed."""
        if self._is_closed:
            raise DecoderCrashed("the decoder is closed")

        def allowed_s(declared_s: float | None) -> float:
            if deadline_s is not None:
                return deadline_s
            size_bytes = file.signature.size_bytes
            return self._limits.deadline_s(size_bytes=size_bytes, declared_s=declared_s)

        return worker.call(request, descriptors, deadline_s=allowed_s)


def _error(answer: dict[str, Any], limits: DecodeLimits) -> AudioError | RetryLater:
    """The port's error for a worker's answer without sound."""
    if "refused" in answer:
        return NotAudio(answer["refused"])
    if "spool_error" in answer:
        return spool_write_error(OSError(*answer["spool_error"]))
    if "unreadable" in answer:
        return FileUnreadable(f"reading it failed: {answer['unreadable']}")
    gib = limits.address_space_bytes / 2**30
    return DecoderCrashed(f"decoding it takes more than {gib:g} GiB of memory")


def _stop_workers(*workers: WorkerProcess) -> None:
    """End worker processes (also when the decoder is forgotten, or the program ends)."""
    for worker in workers:
        worker.stop()
