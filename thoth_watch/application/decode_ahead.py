"""Decodes the next recordings of a batch while the engine computes, so that the engine never waits for a file."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from thoth_watch.application.detect_speech import RecordingReader
from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.errors import AudioError, RetryLater

FILES_AHEAD = 32
GROUP_FILES, GROUP_S = 8, 30.0  # maximum files and audio of a group of short files
STOP_CHECK_INTERVAL_S = 5.0  # between calls of should_stop while a long file is decoded
AUDIO_AHEAD_S = 600.0  # limit on decoded audio that waits on disk or in memory

Decoded = tuple[WaitingFile, Recording | AudioError | RetryLater, float]  # seconds of decoding


def decode_ahead(
    reader: RecordingReader,
    items: Sequence[WaitingFile],
    *,
    clock: Clock,
    should_stop: Callable[[], bool],
) -> Iterator[list[Decoded]]:
    """Yield groups of files in order, each file with its recording or error and the decoding seconds.

    Short files form a group; the first file comes alone, so that the engine can start immediately.
    Speech detection and diarization are applied if the file's options request them.

    One file is decoded at a time. When should_stop returns True, no further file is started, and
    recordings that were decoded but not yielded are closed.
    """
    decode_group = _GroupDecoder(reader, clock=clock)
    waiting = deque(items)
    ahead: deque[tuple[list[WaitingFile], Future[list[Decoded]]]] = deque()
    group = _take_group(waiting, 1)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as thread:
        try:
            while True:
                while group and not should_stop() and _has_capacity(ahead, group):
                    ahead.append((group, thread.submit(decode_group, group)))
                    group = _take_group(waiting, GROUP_FILES)
                if not ahead or should_stop():
                    return
                future = ahead[0][1]
                while not (future.done() or wait([future], timeout=STOP_CHECK_INTERVAL_S).done):
                    if should_stop():
                        return
                ahead.popleft()
                yield future.result()
        finally:
            decode_group.is_over.set()
            for _, future in ahead:
                if not future.cancel() and future.exception() is None:
                    _close(future.result())


class _GroupDecoder:
    """Decodes a group of files one after the other, until `is_over` is set."""

    def __init__(self, reader: RecordingReader, *, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self.is_over = threading.Event()

    def __call__(self, group: list[WaitingFile]) -> list[Decoded]:
        done: list[Decoded] = []
        try:
            for item in group:
                if self.is_over.is_set():
                    break
                begun_s = self._clock.monotonic_s()
                result = self._decode_file(item)
                done.append((item, result, self._clock.monotonic_s() - begun_s))
        except BaseException:
            _close(done)
            raise
        return done

    def _decode_file(self, item: WaitingFile) -> Recording | AudioError | RetryLater:
        try:
            return self._reader.read(item.file, item.file_options, key=item.file_id)
        except (AudioError, RetryLater) as error:
            return error


def _take_group(waiting: deque[WaitingFile], max_files: int) -> list[WaitingFile]:
    """Remove the next file from `waiting`, together with the short files behind it that fit its group."""
    group: list[WaitingFile] = []
    audio_s = 0.0
    while waiting and len(group) < max_files:
        audio_s += _audio_s(waiting[0])
        if group and audio_s > GROUP_S:
            break
        group.append(waiting.popleft())
    return group


def _has_capacity(ahead: deque[tuple[list[WaitingFile], Any]], group: list[WaitingFile]) -> bool:
    items = [item for files, _ in ahead for item in files] + group
    audio_s = sum(_audio_s(item) for item in items)
    return not ahead or (len(items) <= FILES_AHEAD and audio_s <= AUDIO_AHEAD_S)


def _audio_s(item: WaitingFile) -> float:
    """Return the declared seconds; a file without a declared duration counts as a long one."""
    return item.audio_s or AUDIO_AHEAD_S


def _close(decoded: Sequence[Decoded]) -> None:
    for _, result, _ in decoded:
        if isinstance(result, Recording):
            result.close()
