"""From a durable result to files beside the recording: choose names, reserve them, write, record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from thoth_watch.application.ports import (
    Claim,
    Clock,
    Ledger,
    Output,
    StoredResult,
    TranscriptPublisher,
    TranscriptRenderer,
    Unpublished,
)
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.errors import NameTaken
from thoth_watch.domain.naming import candidate_names, language_in_name
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import State
from thoth_watch.domain.treatment import BESIDE_THE_SOURCE, Treatment

ALTERNATE = "alternate"  # a foreign file has the name that it should have had
ANOTHER = "another"  # other recordings of ours have the names before


@dataclass(frozen=True, slots=True)
class Destination:
    """A recording whose transcript is to be published, and the claim under which."""

    item: WaitingFile
    sha256: str
    claim_no: int

    @property
    def below(self) -> Path:
        """The folder that nothing may be written outside of: the inbox, or `output_dir`."""
        return destination_of(self.item.file, self.item.treatment)[1]

    @property
    def folder(self) -> Path:
        """Where its transcripts go: beside it, or in the same place below `output_dir`."""
        return destination_of(self.item.file, self.item.treatment)[0]


def destination_of(file: AudioFile, treatment: Treatment) -> tuple[Path, Path]:
    """The folder of a recording's transcripts, and the one that nothing may be written outside of."""
    if treatment.output_dir == BESIDE_THE_SOURCE:
        return file.path.parent, file.inbox
    output_dir = Path(treatment.output_dir)
    return output_dir / file.relative.parent, output_dir


@dataclass(frozen=True, slots=True)
class NamePlan:
    """The output names of one recording, one per format."""

    names: tuple[tuple[str, Path], ...]  # format, path
    kind: str  # stem, full, alternate or another
    foreign: Path | None  # the file that is not ours and has the name that it should have had


class PublishTranscript:
    """Publishes under names that belong to nobody else, and says so in the ledger before and after."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        publisher: TranscriptPublisher,
        render: TranscriptRenderer,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._render = render
        self._clock = clock

    def new(
        self,
        to: Destination,
        *,
        claim: Claim,
        run_id: int,
        fingerprint: str,
        result: StoredResult,
        reused: bool,
    ) -> FileOutcome | None:
        """Store a new result, reserve its names, write it. None if the claim is no longer ours.

        Raises TryLater where the disk is full or the folder may not be written.
        """
        contents = self._contents(to, result)
        written: dict[str, tuple[Path, str]] = {}
        language = language_in_name(result.transcript.language, to.item.treatment.task)
        for plan in self._plans(to, contents, written, language=language):
            try:
                is_ours = self._ledger.record_result(
                    claim,
                    file_id=to.item.file_id,
                    run_id=run_id,
                    sha256=to.sha256,
                    fingerprint=fingerprint,
                    result=result,
                    names=plan.names,
                    name_kind=plan.kind,
                    now=self._clock.now(),
                )
                if not is_ours:
                    return None
                self._write(to, plan, contents, written)
            except NameTaken:
                continue  # somebody was faster: the next name for what is not yet written
            return self._published(to, plan, result, written, reused=reused)
        return self._without_name(to, result, written)

    def again(self, unpublished: Unpublished) -> FileOutcome | None:
        """Publish a result that a killed process left in the ledger; what it had written is adopted."""
        to = Destination(unpublished.waiting, unpublished.sha256, unpublished.claim_no)
        result = unpublished.result
        plan = NamePlan(unpublished.names, unpublished.name_kind, foreign=None)
        written: dict[str, tuple[Path, str]] = {}
        try:
            self._write(to, plan, self._contents(to, result), written)
        except NameTaken:
            return self._without_name(to, result, written)
        return self._published(to, plan, result, written, reused=True)

    def _contents(self, to: Destination, result: StoredResult) -> dict[str, bytes]:
        """Each format's whole file."""
        return {
            name: self._render(result.transcript, name, provenance=result.provenance)
            for name in to.item.treatment.formats
        }

    def _plans(
        self,
        to: Destination,
        contents: Mapping[str, bytes],
        written: Mapping[str, tuple[Path, str]],
        *,
        language: str,
    ) -> Iterator[NamePlan]:
        """Name plans, best first, leaving out those that another recording or a foreign file has.

        A format that is written already keeps the name that it has.
        """
        treatment = to.item.treatment
        foreign: Path | None = None
        for base, kind in candidate_names(
            to.item.file.path, pattern=treatment.name, sha256=to.sha256, language=language
        ):
            if foreign is not None and kind != ALTERNATE:
                continue
            wanted = {
                name: written[name][0]
                if name in written
                else to.folder / base.replace("{format}", name)
                for name in treatment.formats
            }
            taken, alien = self._who_has(to, wanted, contents)
            if taken:
                continue
            if alien is not None:
                foreign = foreign or alien
                continue
            if kind == ALTERNATE and foreign is None:
                kind = ANOTHER  # noqa: PLW2901 - said of this plan only
            yield NamePlan(tuple(wanted.items()), kind, foreign)
            _, foreign = self._who_has(to, wanted, contents)  # who was faster

    def _who_has(
        self, to: Destination, names: Mapping[str, Path], contents: Mapping[str, bytes]
    ) -> tuple[bool, Path | None]:
        """Whether another recording of ours has one of the names, and which one a foreign file has.

        What we would write there is not foreign: an attempt that failed halfway has left it.
        """
        alien = None
        for name, path in names.items():
            owner = self._ledger.owner_of(path)
            if owner is not None and owner[0] != to.item.file_id:
                return True, None
            ours = {_sha256(contents[name])} | ({owner[1]} if owner and owner[1] else set())
            if alien is None and self._publisher.is_foreign(path, below=to.below, ours_sha256=ours):
                alien = path
        return False, alien

    def _write(
        self,
        to: Destination,
        plan: NamePlan,
        contents: Mapping[str, bytes],
        written: dict[str, tuple[Path, str]],
    ) -> None:
        """Write what is not written yet, noting each file that lies there. Raises NameTaken, TryLater."""
        for format_name, path in plan.names:
            if format_name in written:
                continue
            content = contents[format_name]
            owner = self._ledger.owner_of(path)
            self._publisher.publish(
                Output(
                    path,
                    content,
                    below=to.below,
                    replaces_sha256=owner[1] if owner is not None else None,
                    makes_folder=to.item.treatment.output_dir != BESIDE_THE_SOURCE,
                )
            )
            written[format_name] = (path, _sha256(content))

    def _published(
        self,
        to: Destination,
        plan: NamePlan,
        result: StoredResult,
        written: Mapping[str, tuple[Path, str]],
        *,
        reused: bool,
    ) -> FileOutcome:
        state, reason = State.DONE, ""
        if plan.kind == ALTERNATE:
            state = State.CONFLICT
            alternate = plan.names[-1][1].name
            reason = f"{self._blocker(to, plan)} and was left alone; the transcript is {alternate}"
        return self._record(to, state, reason, list(written.values()), result, reused=reused)

    def _blocker(self, to: Destination, plan: NamePlan) -> str:
        """What is in the way of the name that the transcript should have had."""
        if plan.foreign is None:
            return "the name was taken by a file that is not ours"
        owner = self._ledger.owner_of(plan.foreign)
        is_edited = owner is not None and owner[0] == to.item.file_id and owner[1] is not None
        return f"{plan.foreign.name} {'was edited' if is_edited else 'is not ours'}"

    def _without_name(
        self, to: Destination, result: StoredResult, written: Mapping[str, tuple[Path, str]]
    ) -> FileOutcome:
        reason = "files that are not ours have every name this transcript could have; move them, then retry"
        left = list(written.values())
        return self._record(to, State.CONFLICT, reason, left, result, reused=False)

    def _record(
        self,
        to: Destination,
        state: State,
        reason: str,
        published: list[tuple[Path, str]],
        result: StoredResult,
        *,
        reused: bool,
    ) -> FileOutcome:
        self._ledger.record_published(
            file_id=to.item.file_id,
            claim_no=to.claim_no,
            state=state,
            reason=reason,
            published=published,
            now=self._clock.now(),
        )
        return FileOutcome(
            to.item.file_id,
            state,
            reason,
            sha256=to.sha256,
            duration_s=result.transcript.duration_s,
            reused=reused,
        )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
