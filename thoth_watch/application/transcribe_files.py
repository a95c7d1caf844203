"""Transcribes named files directly, without inbox, ledger or states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thoth_watch.application.detect_speech import RecordingReader
from thoth_watch.application.output_names import NameSearch
from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import (
    EngineSeconds,
    Progress,
    TranscriptionEngine,
    TranscriptionResult,
)
from thoth_watch.application.ports.publishing import Output, TranscriptPublisher, TranscriptRenderer
from thoth_watch.application.provenance import provenance_of
from thoth_watch.application.transcribe_channels import transcribe_channels
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import AudioError, RetryLater
from thoth_watch.domain.file_options import NEXT_TO_SOURCE, FileOptions
from thoth_watch.domain.naming import candidate_names, language_in_name
from thoth_watch.domain.speakers import assign_speakers
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import Transcript


@dataclass(frozen=True, slots=True)
class NamedOutcome:
    """The outcome of one named file."""

    path: Path
    written: tuple[Path, ...] = ()
    text: str = ""
    problem: str | None = None


class TranscribeFiles:
    """Transcribes the given files; a bad file does not affect the others."""

    def __init__(
        self,
        *,
        engine: TranscriptionEngine,
        reader: RecordingReader,
        resolve_file: Callable[[Path], AudioFile],
        publisher: TranscriptPublisher,
        render: TranscriptRenderer,
        progress: Progress,
        file_options: FileOptions,
        provenance: Mapping[str, Any],
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._resolve_file = resolve_file
        self._publisher = publisher
        self._render = render
        self._progress = progress
        self._file_options = file_options
        self._provenance = provenance
        self._taken: set[Path] = set()  # names used in this call

    def __call__(
        self, paths: Sequence[Path], *, seconds: EngineSeconds | None = None
    ) -> Iterator[NamedOutcome]:
        """Yield an outcome per file as soon as it is finished.

        seconds: if given, the engine adds its times to it.
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
        file_options = self._file_options
        for key, path in enumerate(paths):
            try:
                recording = self._reader.read(self._resolve_file(path), file_options, key=key)
            except (AudioError, RetryLater) as error:
                problems.append(NamedOutcome(path, problem=str(error)))
                continue
            recordings[key] = replace(
                recording,
                language=file_options.language,
                task=file_options.task,
                prompt=file_options.prompt,
            )
            yield recordings[key]

    def _finish(
        self, path: Path, recording: Recording, finished: TranscriptionResult
    ) -> NamedOutcome:
        recording.close()
        if finished.transcript is None:
            return NamedOutcome(path, problem=finished.error)
        transcript = finished.transcript
        if recording.turns is not None:
            transcript = assign_speakers(transcript, recording.turns)
        try:
            written, problem = self._publish(path, recording, transcript)
        except RetryLater as error:
            return NamedOutcome(path, problem=str(error))
        if written and not problem:
            self._progress.finished(path, State.DONE, "")
        return NamedOutcome(path, written, transcript.text, problem)

    def _publish(
        self, path: Path, recording: Recording, transcript: Transcript
    ) -> tuple[tuple[Path, ...], str | None]:
        file_options = self._file_options
        is_next_to_source = file_options.output_dir == NEXT_TO_SOURCE
        folder = path.absolute().parent if is_next_to_source else Path(file_options.output_dir)
        provenance = provenance_of(
            self._provenance, self._engine, recording, transcript, speakers=self._reader.speakers
        )
        contents = {
            name: self._render(transcript, name, provenance=provenance)
            for name in file_options.formats
        }
        candidates = candidate_names(
            path,
            pattern=file_options.name,
            sha256=recording.sha256,
            language=language_in_name(transcript.language, file_options.task),
        )
        names = NameSearch(
            candidates,
            lambda base: {name: folder / base.replace("{format}", name) for name in contents},
        )
        while names.paths is not None:
            missing = {name: p for name, p in names.paths.items() if name not in names.written}
            if not self._taken.isdisjoint(missing.values()):
                names.advance()
                continue
            problems = self._publisher.publish_all(
                [
                    Output(p, contents[name], creates_folder=not is_next_to_source)
                    for name, p in missing.items()
                ]
            )
            foreign: Path | None = None
            for (name, output), problem in zip(missing.items(), problems, strict=True):
                if isinstance(problem, RetryLater):
                    raise problem
                if problem is None:
                    names.written[name] = output
                else:
                    foreign = foreign or output
            if foreign is None:
                self._taken.update(names.written.values())
                return tuple(names.paths.values()), _describe_kept(
                    names, next(iter(missing.values()))
                )
            names.advance(foreign=foreign)
        written = tuple(names.written.values())
        return written, f"{names.foreign} and all alternative names are taken; use --output_dir"


def _describe_kept(names: NameSearch, transcript: Path) -> str | None:
    """Describe the foreign file that was kept, and the transcript's other name; None if there is none."""
    if names.foreign is None:
        return None
    return f"{names.foreign.name} already exists and was kept; the transcript is {transcript.name}"


def _drain(problems: list[NamedOutcome]) -> Iterator[NamedOutcome]:
    while problems:
        yield problems.pop(0)
