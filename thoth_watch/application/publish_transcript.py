"""From a durable result to files beside the recording: choose names, reserve them, write, record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thoth_watch.application.destination import Destination, output_paths
from thoth_watch.application.ports import (
    Claim,
    Clock,
    Ledger,
    NewResult,
    Output,
    StoredResult,
    TranscriptPublisher,
    TranscriptRenderer,
    UnpublishedResult,
)
from thoth_watch.domain.errors import NameTaken, RetryLater
from thoth_watch.domain.file_options import NEXT_TO_SOURCE
from thoth_watch.domain.naming import candidate_names, language_in_name
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import State

ALTERNATE = "alternate"  # a foreign file has the name that it should have had
ANOTHER = "another"  # other recordings of ours have the names before


@dataclass(frozen=True, slots=True)
class NewTranscript:
    """A transcript that is neither in the ledger nor on disk yet."""

    to: Destination
    fingerprint: str
    result: StoredResult
    reused: bool  # of an earlier recording of the same sound


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
        self, items: Sequence[NewTranscript], *, claim: Claim, run_id: int
    ) -> list[FileOutcome | RetryLater | None]:
        """Store new results, reserve their names, write them; what became of each.

        None where the claim is no longer ours, TryLater where the disk is full or a folder may not be
        written. What goes as it mostly does goes together, in two transactions for all.
        """
        try:
            together = self._publish_together(items, claim=claim, run_id=run_id)
        except RetryLater as error:  # of the ledger
            return [error] * len(items)
        except NameTaken:  # another worker was faster: nothing is recorded yet
            together = [{} for _ in items]
        return [
            self._publish_one(item, claim=claim, run_id=run_id, written=outcome)
            if isinstance(outcome, dict)
            else outcome
            for item, outcome in zip(items, together, strict=True)
        ]

    def _publish_together(
        self, items: Sequence[NewTranscript], *, claim: Claim, run_id: int
    ) -> list[FileOutcome | RetryLater | dict[str, tuple[Path, str]]]:
        """What became of each item whose first choice of names is free; of the others, what is written."""
        plans, contents = self._first_choices(items)
        reserved = self._ledger.record_results(
            claim,
            [
                NewResult(
                    file_id=items[n].to.item.file_id,
                    sha256=items[n].to.sha256,
                    fingerprint=items[n].fingerprint,
                    result=items[n].result,
                    names=plan.names,
                    name_kind=plan.kind,
                )
                for n, plan in plans.items()
            ],
            run_id=run_id,
            now=self._clock.now(),
        )
        ours = [n for n in plans if items[n].to.item.file_id in reserved]
        outputs = [(n, name, path) for n in ours for name, path in plans[n].names]
        problems = self._publisher.publish_all(
            [
                self._output(
                    items[n].to,
                    path,
                    contents[n][name],
                    replaces_sha256=reserved[items[n].to.item.file_id].get(path),
                )
                for n, name, path in outputs
            ]
        )
        written: list[dict[str, tuple[Path, str]]] = [{} for _ in items]
        failed: dict[int, RetryLater] = {}
        for (n, name, path), problem in zip(outputs, problems, strict=True):
            if problem is None:
                written[n][name] = (path, _sha256(contents[n][name]))
            elif isinstance(problem, RetryLater):
                failed[n] = problem
        whole = [n for n in ours if len(written[n]) == len(plans[n].names)]
        self._ledger.record_all_published(
            {items[n].to.item.file_id: list(written[n].values()) for n in whole},
            claim_no=claim.claim_no,
            now=self._clock.now(),
        )
        done = {n: _outcome(items[n], State.DONE, "") for n in whole}
        return [done.get(n) or failed.get(n) or written[n] for n in range(len(items))]

    def _first_choices(
        self, items: Sequence[NewTranscript]
    ) -> tuple[dict[int, NamePlan], dict[int, dict[str, bytes]]]:
        """The plans of those items whose first choice of names nobody has, and every item's content."""
        contents = {n: self._contents(item.to, item.result) for n, item in enumerate(items)}
        wanted: dict[int, NamePlan] = {}
        taken: set[Path] = set()
        for n, item in enumerate(items):
            base, kind = next(iter(self._candidates(item)))
            plan = NamePlan(tuple(output_paths(item.to, base).items()), kind, foreign=None)
            paths = {path for _, path in plan.names}
            if not paths & taken and len(paths) == len(plan.names):
                wanted[n] = plan
            taken |= paths
        owners = self._ledger.owners_of([path for p in wanted.values() for _, path in p.names])
        free = {
            n: plan
            for n, plan in wanted.items()
            if all(
                self._is_free(items[n].to, path, contents[n][name], owners.get(path))
                for name, path in plan.names
            )
        }
        return free, contents

    def _is_free(
        self, to: Destination, path: Path, content: bytes, owner: tuple[int, str | None] | None
    ) -> bool:
        if owner is not None and owner[0] != to.item.file_id:
            return False
        ours = {_sha256(content)} | ({owner[1]} if owner and owner[1] else set())
        try:
            return not self._publisher.is_foreign(path, below=to.below, ours_sha256=ours)
        except RetryLater:
            return False  # told by the longer way

    def _publish_one(
        self,
        item: NewTranscript,
        *,
        claim: Claim,
        run_id: int,
        written: dict[str, tuple[Path, str]],
    ) -> FileOutcome | RetryLater | None:
        """The longer way, plan by plan, for one whose first choice of names is not free."""
        contents = self._contents(item.to, item.result)
        try:
            for plan in self._plans(item, contents, written):
                try:
                    is_ours = self._ledger.record_result(
                        claim,
                        file_id=item.to.item.file_id,
                        run_id=run_id,
                        sha256=item.to.sha256,
                        fingerprint=item.fingerprint,
                        result=item.result,
                        names=plan.names,
                        name_kind=plan.kind,
                        now=self._clock.now(),
                    )
                    if not is_ours:
                        return None
                    self._write(item.to, plan, contents, written)
                except NameTaken:
                    continue  # somebody was faster: the next name for what is not yet written
                return self._record_success(item, plan, written)
            return self._record_no_name(item, written)
        except RetryLater as error:
            return error

    def publish_stored(self, unpublished: UnpublishedResult) -> FileOutcome | None:
        """Publish a result that a killed process left in the ledger; what it had written is adopted."""
        to = Destination(unpublished.waiting, unpublished.sha256, unpublished.claim_no)
        item = NewTranscript(to, fingerprint="", result=unpublished.result, reused=True)
        plan = NamePlan(unpublished.names, unpublished.name_kind, foreign=None)
        written: dict[str, tuple[Path, str]] = {}
        try:
            self._write(to, plan, self._contents(to, item.result), written)
        except NameTaken:
            return self._record_no_name(item, written)
        return self._record_success(item, plan, written)

    def _contents(self, to: Destination, result: StoredResult) -> dict[str, bytes]:
        """Each format's whole file."""
        return {
            name: self._render(result.transcript, name, provenance=result.provenance)
            for name in to.item.file_options.formats
        }

    def _candidates(self, item: NewTranscript) -> Iterator[tuple[str, str]]:
        """Names without their format, and what kind each is, best first."""
        file_options = item.to.item.file_options
        return candidate_names(
            item.to.item.file.path,
            pattern=file_options.name,
            sha256=item.to.sha256,
            language=language_in_name(item.result.transcript.language, file_options.task),
        )

    def _plans(
        self,
        item: NewTranscript,
        contents: Mapping[str, bytes],
        written: Mapping[str, tuple[Path, str]],
    ) -> Iterator[NamePlan]:
        """Name plans, best first, leaving out those that another recording or a foreign file has.

        A format that is written already keeps the name that it has.
        """
        to = item.to
        foreign: Path | None = None
        for base, kind in self._candidates(item):
            if foreign is not None and kind != ALTERNATE:
                continue
            wanted = output_paths(to, base) | {name: path for name, (path, _) in written.items()}
            taken, alien = self._find_owners(to, wanted, contents)
            if taken:
                continue
            if alien is not None:
                foreign = foreign or alien
                continue
            if kind == ALTERNATE and foreign is None:
                kind = ANOTHER  # noqa: PLW2901 - said of this plan only
            yield NamePlan(tuple(wanted.items()), kind, foreign)
            _, foreign = self._find_owners(to, wanted, contents)  # who was faster

    def _find_owners(
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
            replaces_sha256 = owner[1] if owner is not None else None
            self._publisher.publish(
                self._output(to, path, content, replaces_sha256=replaces_sha256)
            )
            written[format_name] = (path, _sha256(content))

    @staticmethod
    def _output(
        to: Destination, path: Path, content: bytes, *, replaces_sha256: str | None
    ) -> Output:
        return Output(
            path,
            content,
            below=to.below,
            replaces_sha256=replaces_sha256,
            creates_folder=to.item.file_options.output_dir != NEXT_TO_SOURCE,
        )

    def _record_success(
        self, item: NewTranscript, plan: NamePlan, written: Mapping[str, tuple[Path, str]]
    ) -> FileOutcome:
        state, reason = State.DONE, ""
        if plan.kind == ALTERNATE:
            state = State.CONFLICT
            alternate = plan.names[-1][1].name
            reason = f"{self._describe_blocker(item.to, plan)} and was left alone; the transcript is {alternate}"
        return self._record(item, state, reason, list(written.values()))

    def _describe_blocker(self, to: Destination, plan: NamePlan) -> str:
        """What is in the way of the name that the transcript should have had."""
        if plan.foreign is None:
            return "the name was taken by a file that is not ours"
        owner = self._ledger.owner_of(plan.foreign)
        is_edited = owner is not None and owner[0] == to.item.file_id and owner[1] is not None
        return f"{plan.foreign.name} {'was edited' if is_edited else 'is not ours'}"

    def _record_no_name(
        self, item: NewTranscript, written: Mapping[str, tuple[Path, str]]
    ) -> FileOutcome:
        reason = "files that are not ours have every name this transcript could have; move them, then retry"
        return self._record(item, State.CONFLICT, reason, list(written.values()))

    def _record(
        self, item: NewTranscript, state: State, reason: str, published: list[tuple[Path, str]]
    ) -> FileOutcome:
        self._ledger.record_published(
            file_id=item.to.item.file_id,
            claim_no=item.to.claim_no,
            state=state,
            reason=reason,
            published=published,
            now=self._clock.now(),
        )
        return _outcome(item, state, reason)


def _outcome(item: NewTranscript, state: State, reason: str) -> FileOutcome:
    return FileOutcome(
        item.to.item.file_id,
        state,
        reason,
        sha256=item.to.sha256,
        duration_s=item.result.transcript.duration_s,
        reused=item.reused,
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
