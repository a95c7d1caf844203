"""Recordings with a speaker a channel on their way through the engine: taken apart, and put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from thoth_watch.application.ports import (
    EngineSeconds,
    Recording,
    TranscriptionEngine,
    TranscriptionResult,
)
from thoth_watch.domain.channels import merge_transcripts
from thoth_watch.domain.transcript import Transcript


@dataclass(slots=True)
class _SplitRecording:
    """A recording whose channels are with the engine."""

    recording: Recording
    done: dict[int, TranscriptionResult] = field(
        default_factory=dict
    )  # by place among its channels


def transcribe_channels(
    engine: TranscriptionEngine,
    recordings: Iterable[Recording],
    *,
    seconds: EngineSeconds,
    on_progress: Callable[[float], None],
    should_stop: Callable[[], bool],
) -> Iterator[TranscriptionResult]:
    """`engine.transcribe`, each channel of a recording by itself; one is yielded with its last channel.

    A channel that cannot be transcribed makes its whole recording one that cannot.
    """
    apart: dict[
        int, tuple[_SplitRecording, int]
    ] = {}  # by the key that the engine knows a channel by

    def parts() -> Iterator[Recording]:
        for recording in recordings:
            if not recording.channels:
                yield recording
                continue
            whole = _SplitRecording(recording)
            for place, (_, channel) in enumerate(recording.channels):
                key = -1 - len(apart)  # callers' keys are not negative
                apart[key] = whole, place
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
        if finished.key not in apart:
            yield finished
            continue
        whole, place = apart[finished.key]
        whole.done[place] = finished
        if len(whole.done) == len(whole.recording.channels):
            yield _merge(whole)


def _merge(whole: _SplitRecording) -> TranscriptionResult:
    parts: list[tuple[str, Transcript]] = []
    for place, (name, _) in enumerate(whole.recording.channels):
        finished = whole.done[place]
        if finished.transcript is None:
            return TranscriptionResult(whole.recording.key, None, f"{name}: {finished.error}")
        parts.append((name, finished.transcript))
    return TranscriptionResult(whole.recording.key, merge_transcripts(parts))
