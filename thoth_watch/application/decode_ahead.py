"""Decodes the next recordings of a batch while the engine computes, so that it never waits for a file."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from thoth_watch.application.detect_speech import detect_speech
from thoth_watch.application.ports import (
    AudioDecoder,
    Clock,
    Recording,
    SpeakerDiarization,
    VoiceActivityDetector,
)
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.channels import Channels
from thoth_watch.domain.errors import AudioError, RetryLater

FILES_AHEAD = 32
GROUP_FILES, GROUP_S = 8, 30.0  # of short files are handed over in the time of one
STOP_CHECK_INTERVAL_S = 5.0  # should_stop is asked so often while a long file is decoded
AUDIO_AHEAD_S = 600.0  # decoded recordings wait on disk or in memory: no more than so much of them

Decoded = tuple[WaitingFile, Recording | AudioError | RetryLater, float]  # and the seconds it took


def decode_ahead(
    decoder: AudioDecoder,
    items: Sequence[WaitingFile],
    *,
    clock: Clock,
    voice: VoiceActivityDetector | None = None,
    speakers: SpeakerDiarization | None = None,
    should_stop: Callable[[], bool],
) -> Iterator[list[Decoded]]:
    """Yield files with their recordings, or why there is none, and the seconds of decoding, in order.

    Several short ones come at once, but the first comes alone: nobody waits for others before they
    begin. Where a file's treatment asks for it, voice has been listened for and speakers told apart.

    One file is decoded at a time. When should_stop turns true no other is begun; what was decoded
    and not asked for is closed.
    """
    take = _GroupDecoder(decoder, clock=clock, voice=voice, speakers=speakers)
    waiting = deque(items)
    ahead: deque[tuple[list[WaitingFile], Future[list[Decoded]]]] = deque()
    some = _take_group(waiting, 1)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as thread:
        try:
            while True:
                while some and not should_stop() and _has_capacity(ahead, some):
                    ahead.append((some, thread.submit(take, some)))
                    some = _take_group(waiting, GROUP_FILES)
                if not ahead or should_stop():
                    return
                future = ahead[0][1]
                while not (future.done() or wait([future], timeout=STOP_CHECK_INTERVAL_S).done):
                    if should_stop():
                        return
                ahead.popleft()
                yield future.result()
        finally:
            take.is_over.set()
            for _, future in ahead:
                if not future.cancel() and future.exception() is None:
                    _close(future.result())


class _GroupDecoder:
    """Decodes some files, one after the other, until it is over."""

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

    def __call__(self, some: list[WaitingFile]) -> list[Decoded]:
        done: list[Decoded] = []
        try:
            for item in some:
                if self.is_over.is_set():
                    break
                begun_s = self._clock.monotonic_s()
                result = self._one(item)
                done.append((item, result, self._clock.monotonic_s() - begun_s))
        except BaseException:
            _close(done)
            raise
        return done

    def _one(self, item: WaitingFile) -> Recording | AudioError | RetryLater:
        try:
            is_split = item.file_options.channels == Channels.SPLIT
            decode = self._decoder.decode_channels if is_split else self._decoder.decode
            decoded = decode(item.file, key=item.file_id)
            return detect_speech(
                decoded, item.file_options, voice=self._voice, speakers=self._speakers
            )
        except (AudioError, RetryLater) as error:
            return error


def _take_group(waiting: deque[WaitingFile], most: int) -> list[WaitingFile]:
    """Take the next file, and as many short ones behind it as may come with it."""
    some: list[WaitingFile] = []
    audio_s = 0.0
    while waiting and len(some) < most:
        audio_s += _audio_s(waiting[0])
        if some and audio_s > GROUP_S:
            break
        some.append(waiting.popleft())
    return some


def _has_capacity(ahead: deque[tuple[list[WaitingFile], Any]], some: list[WaitingFile]) -> bool:
    items = [item for ones, _ in ahead for item in ones] + some
    audio_s = sum(_audio_s(item) for item in items)
    return not ahead or (len(items) <= FILES_AHEAD and audio_s <= AUDIO_AHEAD_S)


def _audio_s(item: WaitingFile) -> float:
    """Declared seconds; a file that does not say is taken for a long one."""
    return item.audio_s or AUDIO_AHEAD_S


def _close(decoded: Sequence[Decoded]) -> None:
    for _, result, _ in decoded:
        if isinstance(result, Recording):
            result.close()
