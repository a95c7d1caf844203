"""The `AudioDecoder` port: opens files in this process and decodes them in a worker process."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from typing import Any

from thoth_watch.application.ports.audio import Recording
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

    A long decode therefore does not delay reading headers. All methods are thread-safe.
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
        """Process id of the worker that decodes; None before the first file."""
        return self._decode_worker.pid

    def probe(self, file: AudioFile) -> float | None:
        """Return the seconds that the file declares; None if it has no length or cannot be read."""
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
                "cannot read a duration from the header; continuing without it",
                extra={"event": "probe_failed", "error": str(error)},
            )
            return None
        declared_s = answer.get("declared_s")
        return None if declared_s is None else float(declared_s)

    def decode(self, file: AudioFile, *, key: int = 0) -> Recording:
        """Read and decode one file to its end; its samples are a read-only memory map.

        Raises NotAudio, FileChanged, DecoderCrashed, FileUnreadable, FileGone, or RetryLater when
        the disk is full, the inbox is unavailable or no worker starts.
        """
        return self._decode_one(file, key=key, channel=None)

    def decode_channels(self, file: AudioFile, *, key: int = 0) -> Recording:
        """Decode like `decode`, with every channel that is neither silent nor a copy under `channels`.

        The file is read once per channel.
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
        """Let the worker fill the spool; return the recording."""
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
        audio = answer["audio"]
        return Recording(
            key=key,
            samples=spool.samples(),
            sha256=answer["sha256"],
            info=AudioInfo(
                declared_s=audio["declared_s"],
                decoded_s=audio["decoded_s"],
                source_rate_hz=audio["source_rate_hz"],
                source_channels=audio["source_channels"],
                codec=audio["codec"],
                decoder=audio["decoder"],
                warnings=tuple(audio["warnings"]),
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
        """Return the worker's answer. Raises DecoderCrashed after `close`."""
        if self._is_closed:
            raise DecoderCrashed("the decoder is closed")

        def allowed_s(declared_s: float | None) -> float:
            if deadline_s is not None:
                return deadline_s
            size_bytes = file.signature.size_bytes
            return self._limits.deadline_s(size_bytes=size_bytes, declared_s=declared_s)

        return worker.call(request, descriptors, deadline_s=allowed_s)


def _error(answer: dict[str, Any], limits: DecodeLimits) -> AudioError | RetryLater:
    """Return the port's error for a worker's answer without audio."""
    if "refused" in answer:
        return NotAudio(answer["refused"])
    if "spool_error" in answer:
        return spool_write_error(OSError(*answer["spool_error"]))
    if "unreadable" in answer:
        return FileUnreadable(
            f"reading the file failed: {answer['unreadable']}; check the disk or the network share"
        )
    gib = limits.address_space_bytes / 2**30
    return DecoderCrashed(
        f"decoding needs more than {gib:g} GiB of memory; convert the file to wav or flac"
    )


def _stop_workers(*workers: WorkerProcess) -> None:
    """Stop worker processes; also called when the decoder is garbage-collected or the program ends."""
    for worker in workers:
        worker.stop()
