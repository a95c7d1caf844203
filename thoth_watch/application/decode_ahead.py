"""Decodes the next recordings of a batch while the engine computes, so that the engine never waits for a file."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from thoth_watch.application.detect_speech import detect_speech
from thoth_watch.application.ports.audio import (
    AudioDecoder,
    Recording,
    SpeakerDiarization,
    VoiceActivityDetector,
)
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.channels import Channels
from thoth_watch.domain.errors import AudioError, RetryLater

FILES_AHEAD = 32
GROUP_FILES, GROUP_S = 8, 30.0  # maximum files and audio of a group of short files
STOP_CHECK_INTERVAL_S = 5.0  # between calls of should_stop while a long file is decoded
AUDIO_AHEAD_S = 600.0  # limit on decoded audio that waits on disk or in memory

Decoded = tuple[WaitingFile, Recording | AudioError | RetryLater, float]  # seconds of decoding


def decode_ahead(
    decoder: AudioDecoder,
    items: Sequence[WaitingFile],
    *,
    clock: Clock,
    voice: VoiceActivityDetector | None = None,
    speakers: SpeakerDiarization | None = None,
    should_stop: Callable[[], bool],
) -> Iterator[list[Decoded]]:
    """Yield groups of files in order, each file with its recording or error and the decoding seconds.

    Short files form a group; the first file comes alone, so that the engine can start immediately.
    Speech detection and diarization are applied if the file's options request them.

    One file is decoded at a time. When should_stop returns True, no further file is started, and
    recordings that were decoded but not yielded are closed.
    """
    decode_group = _GroupDecoder(decoder, clock=clock, voice=voice, speakers=speakers)
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

    def __init__(
        self,
        decoder: AudioDecoder,
        *,
        clock: Clock,
        voice: VoiceActivityDetector | None,
        speakers: SpeakerDiarization | None,
    ) -> None:
        self._decoder = decoder
        self._clock = clock
        self._voice = voice
        self._speakers = speakers
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
            is_split = item.file_options.channels == Channels.SPLIT
            decode = self._decoder.decode_channels if is_split else self._decoder.decode
            decoded = decode(item.file, key=item.file_id)
            return detect_speech(
                decoded, item.file_options, voice=self._voice, speakers=self._speakers
            )
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
