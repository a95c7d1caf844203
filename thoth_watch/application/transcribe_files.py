"""Named files to transcripts beside them, without inbox, ledger or states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thoth_watch.application.channel_by_channel import transcribe_channels
from thoth_watch.application.listening import listened
from thoth_watch.application.ports import (
    AudioDecoder,
    EngineSeconds,
    Output,
    Progress,
    Recording,
    Transcribed,
    TranscriptionEngine,
    TranscriptPublisher,
    TranscriptRenderer,
    VoiceActivity,
)
from thoth_watch.application.provenance import provenance_of
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.channels import Channels
from thoth_watch.domain.errors import AudioError, NameTaken, TryLater
from thoth_watch.domain.naming import candidate_names, language_in_name
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import Transcript
from thoth_watch.domain.treatment import BESIDE_THE_SOURCE, Treatment


@dataclass(frozen=True, slots=True)
class NamedOutcome:
    """What became of one named file."""

    path: Path
    written: tuple[Path, ...] = ()
    text: str = ""
    problem: str | None = None


class TranscribeFiles:
    """Transcribes the files that a person named; one bad file leaves the others unharmed."""

    def __init__(
        self,
        *,
        engine: TranscriptionEngine,
        decoder: AudioDecoder,
        look_at: Callable[[Path], AudioFile],
        publisher: TranscriptPublisher,
        render: TranscriptRenderer,
        progress: Progress,
        treatment: Treatment,
        provenance: Mapping[str, Any],
        voice: VoiceActivity | None = None,
    ) -> None:
        self._engine = engine
        self._decoder = decoder
        self._look_at = look_at
        self._publisher = publisher
        self._render = render
        self._progress = progress
        self._treatment = treatment
        self._provenance = provenance
        self._voice = voice
        self._taken: set[Path] = set()  # names given out in this call

    def __call__(
        self, paths: Sequence[Path], *, seconds: EngineSeconds | None = None
    ) -> Iterator[NamedOutcome]:
        """Yield an outcome per file, as each is finished.

        seconds: where the engine's time is added, for who wants to know.
        """
        problems: list[NamedOutcome] = []
        recordings: dict[int, Recording] = {}
        self._progress.begin(files=len(paths), audio_s=0.0)
        try:
            done = transcribe_channels(
                self._engine,
                self._recordings(paths, recordings, problems),
                seconds=seconds or EngineSeconds(),
                on_progress=self._progress.advance,
                should_stop=lambda: False,
            )
            for finished in done:
                yield from _drain(problems)
                yield self._finish(paths[finished.key], recordings[finished.key], finished)
            yield from _drain(problems)
        finally:
            self._progress.end()

    def _recordings(
        self,
        paths: Sequence[Path],
        recordings: dict[int, Recording],
        problems: list[NamedOutcome],
    ) -> Iterator[Recording]:
        is_split = self._treatment.channels == Channels.SPLIT
        decode = self._decoder.decode_channels if is_split else self._decoder.decode
        for key, path in enumerate(paths):
            try:
                recording = decode(self._look_at(path), key=key)
            except (AudioError, TryLater) as error:
                problems.append(NamedOutcome(path, problem=str(error)))
                continue
            treatment = self._treatment
            recording = listened(recording, self._voice, vad=treatment.vad)
            recordings[key] = replace(
                recording,
                language=treatment.language,
                task=treatment.task,
                prompt=treatment.prompt,
            )
            yield recordings[key]

    def _finish(self, path: Path, recording: Recording, finished: Transcribed) -> NamedOutcome:
        recording.close()
        if finished.transcript is None:
            return NamedOutcome(path, problem=finished.error)
        try:
            written, problem = self._publish(path, recording, finished.transcript)
        except TryLater as error:
            return NamedOutcome(path, problem=str(error))
        if written and not problem:
            self._progress.finished(path, State.DONE, "")
        return NamedOutcome(path, written, finished.transcript.text, problem)

    def _publish(
        self, path: Path, recording: Recording, transcript: Transcript
    ) -> tuple[tuple[Path, ...], str | None]:
        treatment = self._treatment
        beside = treatment.output_dir == BESIDE_THE_SOURCE
        folder = path.absolute().parent if beside else Path(treatment.output_dir)
        told = provenance_of(self._provenance, self._engine, recording, transcript)
        blocked: Path | None = None
        for base, kind in candidate_names(
            path,
            pattern=treatment.name,
            sha256=recording.sha256,
            language=language_in_name(transcript.language, treatment.task),
        ):
            names = [folder / base.replace("{format}", name) for name in treatment.formats]
            if any(name in self._taken for name in names) or (blocked and kind != "alternate"):
                continue
            contents = [self._render(transcript, f, provenance=told) for f in treatment.formats]
            try:
                for name, content in zip(names, contents, strict=True):
                    blocked_now = name
                    self._publisher.publish(Output(name, content, makes_folder=not beside))
            except NameTaken:
                blocked = blocked or blocked_now
                continue
            self._taken.update(names)
            problem = None
            if blocked:
                problem = f"{blocked.name} was there already and was left alone"
            return tuple(names), problem
        return (), f"{blocked} and every other name are taken; use --output_dir"


def _drain(problems: list[NamedOutcome]) -> Iterator[NamedOutcome]:
    while problems:
        yield problems.pop(0)
