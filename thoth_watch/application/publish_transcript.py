"""From a durable result to files beside the recording: choose names, reserve them, write, record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
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
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.errors import NameTaken
from thoth_watch.domain.naming import candidate_names
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import State
from thoth_watch.domain.treatment import BESIDE_THE_SOURCE

ALTERNATE = "alternate"


@dataclass(frozen=True, slots=True)
class Destination:
    """A recording whose transcript is to be published, and the claim under which."""

    item: WaitingFile
    sha256: str
    claim_no: int

    @property
    def folder(self) -> Path:
        """Where its transcripts go: beside it, or in the same place below `output_dir`."""
        output_dir = self.item.treatment.output_dir
        if output_dir == BESIDE_THE_SOURCE:
            return self.item.file.path.parent
        return Path(output_dir) / self.item.file.relative.parent


@dataclass(frozen=True, slots=True)
class NamePlan:
    """The output names of one recording, one per format."""

    names: tuple[tuple[str, Path], ...]  # format, path
    kind: str  # stem, full or alternate
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
        for plan in self._plans(to):
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
                return self._write(to, plan, result, reused=reused)
            except NameTaken:
                continue  # somebody was faster: the next name
        return self._without_name(to, result)

    def again(self, unpublished: Unpublished) -> FileOutcome | None:
        """Publish a result that a killed process left in the ledger; what it had written is adopted."""
        to = Destination(unpublished.waiting, unpublished.sha256, unpublished.claim_no)
        plan = NamePlan(unpublished.names, unpublished.name_kind, foreign=None)
        try:
            return self._write(to, plan, unpublished.result, reused=True)
        except NameTaken:
            return self._without_name(to, unpublished.result)

    def _plans(self, to: Destination) -> Iterator[NamePlan]:
        """Name plans, best first, leaving out those that another recording or a foreign file has."""
        treatment = to.item.treatment
        foreign: Path | None = None
        for base, kind in candidate_names(
            to.item.file.path, pattern=treatment.name, sha256=to.sha256
        ):
            if foreign is not None and kind != ALTERNATE:
                continue
            names = tuple(
                (name, to.folder / base.replace("{format}", name)) for name in treatment.formats
            )
            taken, alien = self._who_has(names, to.item.file_id)
            if taken:
                continue
            if alien is not None:
                foreign = foreign or alien
                continue
            yield NamePlan(names, kind, foreign)

    def _who_has(
        self, names: tuple[tuple[str, Path], ...], file_id: int
    ) -> tuple[bool, Path | None]:
        """Whether another recording of ours has one of the names, and which one a foreign file has."""
        alien = None
        for _, path in names:
            owner = self._ledger.owner_of(path)
            if owner is not None and owner[0] != file_id:
                return True, None
            ours = owner[1] if owner is not None else None
            if alien is None and self._publisher.is_foreign(path, ours_sha256=ours):
                alien = path
        return False, alien

    def _write(
        self, to: Destination, plan: NamePlan, result: StoredResult, *, reused: bool
    ) -> FileOutcome:
        published = []
        for format_name, path in plan.names:
            content = self._render(result.transcript, format_name, provenance=result.provenance)
            owner = self._ledger.owner_of(path)
            older = owner[1] if owner is not None else None
            makes_folder = to.item.treatment.output_dir != BESIDE_THE_SOURCE
            self._publisher.publish(
                Output(path, content, replaces_sha256=older, makes_folder=makes_folder)
            )
            published.append((path, hashlib.sha256(content).hexdigest()))
        state, reason = State.DONE, ""
        if plan.kind == ALTERNATE:
            state = State.CONFLICT
            blocker = plan.foreign.name if plan.foreign else "a file that is not ours"
            reason = f"{blocker} is not ours and was left alone; the transcript is {plan.names[0][1].name}"
        return self._record(to, state, reason, published, result, reused=reused)

    def _without_name(self, to: Destination, result: StoredResult) -> FileOutcome:
        reason = "files that are not ours have every name this transcript could have; move them, then retry"
        return self._record(to, State.CONFLICT, reason, [], result, reused=False)

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
