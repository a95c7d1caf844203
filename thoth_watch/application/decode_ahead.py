"""Decodes the next recordings of a batch while the engine computes, so that it never waits for a file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

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

FILES_AHEAD = 8
SIGN_OF_LIFE_S = 5.0  # should_stop is asked so often while a long file is decoded
AUDIO_AHEAD_S = 600.0  # decoded recordings wait on disk or in memory: no more than so much of them

Decoded = tuple[Recording | AudioError | TryLater, float]  # and the seconds that it took


def decode_ahead(
    decoder: AudioDecoder,
    items: Sequence[WaitingFile],
    *,
    clock: Clock,
    voice: VoiceActivity | None = None,
    speakers: SpeakerDiarization | None = None,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[WaitingFile, Recording | AudioError | TryLater, float]]:
    """Yield each file's recording, or why there is none, and the seconds of decoding, in order.

    Where the file's treatment asks for it, voice has been listened for and speakers told apart.

    One file is decoded at a time. When should_stop turns true no other is begun; what was decoded
    and not asked for is closed.
    """

    def take(item: WaitingFile) -> Decoded:
        begun_s = clock.monotonic_s()
        result: Recording | AudioError | TryLater
        try:
            is_split = item.treatment.channels == Channels.SPLIT
            decode = decoder.decode_channels if is_split else decoder.decode
            decoded = decode(item.file, key=item.file_id)
            result = listened(decoded, item.treatment, voice=voice, speakers=speakers)
        except (AudioError, TryLater) as error:
            result = error
        return result, clock.monotonic_s() - begun_s

    waiting = deque(items)
    ahead: deque[tuple[WaitingFile, Future[Decoded]]] = deque()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as thread:
        try:
            while True:
                while waiting and not should_stop() and _has_room(ahead, waiting[0]):
                    item = waiting.popleft()
                    ahead.append((item, thread.submit(take, item)))
                if not ahead or should_stop():
                    return
                while not wait([ahead[0][1]], timeout=SIGN_OF_LIFE_S).done:
                    if should_stop():
                        return
                item, future = ahead.popleft()
                yield item, *future.result()
        finally:
            _close_all(future for _, future in ahead)


def _has_room(ahead: deque[tuple[WaitingFile, Future[Decoded]]], item: WaitingFile) -> bool:
    audio_s = sum(_audio_s(i) for i, _ in ahead) + _audio_s(item)
    return not ahead or (len(ahead) < FILES_AHEAD and audio_s <= AUDIO_AHEAD_S)


def _audio_s(item: WaitingFile) -> float:
    """Declared seconds; a file that does not say is taken for a long one."""
    return item.audio_s or AUDIO_AHEAD_S


def _close_all(futures: Iterator[Future[Decoded]]) -> None:
    for future in futures:
        if not future.cancel() and future.exception() is None:
            result, _ = future.result()
            if isinstance(result, Recording):
                result.close()
