"""Transcribes split recordings channel by channel and merges the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import (
    EngineSeconds,
    TranscriptionEngine,
    TranscriptionResult,
)
from thoth_watch.domain.channels import merge_transcripts
from thoth_watch.domain.transcript import Transcript


@dataclass(slots=True)
class _SplitRecording:
    """A recording whose channels are being transcribed."""

    recording: Recording
    done: dict[int, TranscriptionResult] = field(default_factory=dict)  # by index of the channel


def transcribe_channels(
    engine: TranscriptionEngine,
    recordings: Iterable[Recording],
    *,
    seconds: EngineSeconds,
    on_progress: Callable[[float], None],
    should_stop: Callable[[], bool],
) -> Iterator[TranscriptionResult]:
    """Run `engine.transcribe` on each channel separately; yield a recording after its last channel.

    If one channel fails, the whole recording fails.
    """
    channel_of: dict[int, tuple[_SplitRecording, int]] = {}  # by the key that the engine sees

    def parts() -> Iterator[Recording]:
        for recording in recordings:
            if not recording.channels:
                yield recording
                continue
            split = _SplitRecording(recording)
            for index, (_, channel) in enumerate(recording.channels):
                key = -1 - len(channel_of)  # callers' keys are not negative
                channel_of[key] = split, index
                yield replace(
                    recording,
                    key=key,
                    samples=channel.samples,
                    info=channel.info,
                    speech=channel.speech,
                    channels=(),
                    close=channel.close,
                    partial=channel.partial,
                    save_partial=channel.save_partial,
                )

    for finished in engine.transcribe(
        parts(), seconds=seconds, on_progress=on_progress, should_stop=should_stop
    ):
        if finished.key not in channel_of:
            yield finished
            continue
        split, index = channel_of[finished.key]
        split.done[index] = finished
        if len(split.done) == len(split.recording.channels):
            yield _merge(split)


def _merge(split: _SplitRecording) -> TranscriptionResult:
    parts: list[tuple[str, Transcript]] = []
    for index, (name, _) in enumerate(split.recording.channels):
        finished = split.done[index]
        if finished.transcript is None:
            return TranscriptionResult(split.recording.key, None, f"{name}: {finished.error}")
        parts.append((name, finished.transcript))
    return TranscriptionResult(split.recording.key, merge_transcripts(parts))
