"""Decodes the next recordings of a batch while the engine computes, so that it never waits for a file."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from thoth_watch.application.listening import listened
from thoth_watch.application.ports import (
    AudioDecoder,
    Clock,
    Recording,
    SpeakerDiarization,
    VoiceActivity,
)
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.channels import Channels
from thoth_watch.domain.errors import AudioError, TryLater

FILES_AHEAD = 32
TOGETHER_FILES, TOGETHER_S = 8, 30.0  # of short files are handed over in the time of one
SIGN_OF_LIFE_S = 5.0  # should_stop is asked so often while a long file is decoded
AUDIO_AHEAD_S = 600.0  # decoded recordings wait on disk or in memory: no more than so much of them

Decoded = tuple[WaitingFile, Recording | AudioError | TryLater, float]  # and the seconds it took


def decode_ahead(
    decoder: AudioDecoder,
    items: Sequence[WaitingFile],
    *,
    clock: Clock,
    voice: VoiceActivity | None = None,
    speakers: SpeakerDiarization | None = None,
    should_stop: Callable[[], bool],
) -> Iterator[list[Decoded]]:
    """Yield files with their recordings, or why there is none, and the seconds of decoding, in order.

    Several short ones come at once, but the first comes alone: nobody waits for others before they
    begin. Where a file's treatment asks for it, voice has been listened for and speakers told apart.

    One file is decoded at a time. When should_stop turns true no other is begun; what was decoded
    and not asked for is closed.
    """
    take = _Take(decoder, clock=clock, voice=voice, speakers=speakers)
    waiting = deque(items)
    ahead: deque[tuple[list[WaitingFile], Future[list[Decoded]]]] = deque()
    some = _first(waiting, 1)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as thread:
        try:
            while True:
                while some and not should_stop() and _has_room(ahead, some):
                    ahead.append((some, thread.submit(take, some)))
                    some = _first(waiting, TOGETHER_FILES)
                if not ahead or should_stop():
                    return
                future = ahead[0][1]
                while not (future.done() or wait([future], timeout=SIGN_OF_LIFE_S).done):
                    if should_stop():
                        return
                ahead.popleft()
                yield future.result()
        finally:
            take.is_over.set()
            for _, future in ahead:
                if not future.cancel() and future.exception() is None:
                    _close(future.result())


class _Take:
    """Decodes some files, one after the other, until it is over."""

    def __init__(
        self,
        decoder: AudioDecoder,
        *,
        clock: Clock,
        voice: VoiceActivity | None,
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

    def _one(self, item: WaitingFile) -> Recording | AudioError | TryLater:
        try:
            is_split = item.treatment.channels == Channels.SPLIT
            decode = self._decoder.decode_channels if is_split else self._decoder.decode
            decoded = decode(item.file, key=item.file_id)
            return listened(decoded, item.treatment, voice=self._voice, speakers=self._speakers)
        except (AudioError, TryLater) as error:
            return error


def _first(waiting: deque[WaitingFile], most: int) -> list[WaitingFile]:
    """Take the next file, and as many short ones behind it as may come with it."""
    some: list[WaitingFile] = []
    audio_s = 0.0
    while waiting and len(some) < most:
        audio_s += _audio_s(waiting[0])
        if some and audio_s > TOGETHER_S:
            break
        some.append(waiting.popleft())
    return some


def _has_room(ahead: deque[tuple[list[WaitingFile], Any]], some: list[WaitingFile]) -> bool:
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
