"""Publishes transcripts: chooses output names, reserves them in the ledger, writes the files, records them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thoth_watch.application.destination import Destination, output_paths
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.application.ports.ledger import (
    Claim,
    NewResult,
    Results,
    StoredResult,
    UnpublishedResult,
)
from thoth_watch.application.ports.publishing import Output, TranscriptPublisher, TranscriptRenderer
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import NameTaken, RetryLater
from thoth_watch.domain.file_options import NEXT_TO_SOURCE, FileOptions
from thoth_watch.domain.naming import candidate_names, language_in_name
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import State

ALTERNATE = "alternate"  # a foreign file has the preferred name
ANOTHER = "another"  # transcripts of other recordings have the preferred names


@dataclass(frozen=True, slots=True)
class NewTranscript:
    """A transcript that is neither in the ledger nor on disk yet."""

    to: Destination
    fingerprint: str
    result: StoredResult
    reused: bool  # from an earlier recording with the same audio


@dataclass(frozen=True, slots=True)
class NamePlan:
    """The output names of one recording, one per format."""

    names: tuple[tuple[str, Path], ...]  # format, path
    kind: str  # stem, full, alternate or another
    foreign: Path | None  # the foreign file that has the preferred name


class PublishTranscript:
    """Publishes transcripts under free names, which the ledger records before and after the write."""

    def __init__(
        self,
        *,
        ledger: Results,
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
        """Store new results, reserve their names and write them; return the outcome of each.

        None if the claim no longer holds the file, RetryLater if the disk is full or a folder is not
        writable. Items whose first choice of names is free share two transactions.
        """
        try:
            together = self._publish_together(items, claim=claim, run_id=run_id)
        except RetryLater as error:  # raised by the ledger
            return [error] * len(items)
        except NameTaken:  # another worker reserved a name first: nothing was recorded
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
        """Publish the items whose first choice of names is free. Others get a dict of their written formats."""
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
        complete = [n for n in ours if len(written[n]) == len(plans[n].names)]
        self._ledger.record_all_published(
            {items[n].to.item.file_id: list(written[n].values()) for n in complete},
            claim_no=claim.claim_no,
            now=self._clock.now(),
        )
        done = {n: _outcome(items[n], State.DONE, "") for n in complete}
        return [done.get(n) or failed.get(n) or written[n] for n in range(len(items))]

    def _first_choices(
        self, items: Sequence[NewTranscript]
    ) -> tuple[dict[int, NamePlan], dict[int, dict[str, bytes]]]:
        """Return the plans of those items whose first choice of names is free, and every item's content."""
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
            return False  # `_publish_one` reports the problem

    def _publish_one(
        self,
        item: NewTranscript,
        *,
        claim: Claim,
        run_id: int,
        written: dict[str, tuple[Path, str]],
    ) -> FileOutcome | RetryLater | None:
        """Publish one item whose first choice of names is not free, trying plan by plan."""
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
                    continue  # taken meanwhile: try the next plan for the formats not written yet
                return self._record_success(item, plan, written)
            return self._record_no_name(item, written)
        except RetryLater as error:
            return error

    def unpublished(
        self, resolve_file_options: Callable[[AudioFile], FileOptions]
    ) -> list[UnpublishedResult]:
        """Return the results that are in the ledger but not published."""
        return self._ledger.unpublished(resolve_file_options)

    def publish_stored(self, unpublished: UnpublishedResult) -> FileOutcome | None:
        """Publish a result that a killed process left in the ledger; files that it wrote are adopted."""
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
        """Return the complete file content of each format."""
        return {
            name: self._render(result.transcript, name, provenance=result.provenance)
            for name in to.item.file_options.formats
        }

    def _candidates(self, item: NewTranscript) -> Iterator[tuple[str, str]]:
        """Return candidate names (with a placeholder for the format) and their kinds, best first."""
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
        """Yield name plans, best first, without those whose names are taken.

        A format that has been written keeps its name.
        """
        to = item.to
        foreign: Path | None = None
        for base, kind in self._candidates(item):
            if foreign is not None and kind != ALTERNATE:
                continue
            wanted = output_paths(to, base) | {name: path for name, (path, _) in written.items()}
            taken, foreign_path = self._find_owners(to, wanted, contents)
            if taken:
                continue
            if foreign_path is not None:
                foreign = foreign or foreign_path
                continue
            if kind == ALTERNATE and foreign is None:
                kind = ANOTHER  # noqa: PLW2901 - for this plan only
            yield NamePlan(tuple(wanted.items()), kind, foreign)
            # the write failed: a foreign file was created meanwhile
            _, foreign = self._find_owners(to, wanted, contents)

    def _find_owners(
        self, to: Destination, names: Mapping[str, Path], contents: Mapping[str, bytes]
    ) -> tuple[bool, Path | None]:
        """Return True if another recording owns one of the names, and the path of a foreign file.

        A file with the content that we would write is not foreign: a failed attempt has left it.
        """
        foreign_path = None
        for name, path in names.items():
            owner = self._ledger.owner_of(path)
            if owner is not None and owner[0] != to.item.file_id:
                return True, None
            ours = {_sha256(contents[name])} | ({owner[1]} if owner and owner[1] else set())
            if foreign_path is None and self._publisher.is_foreign(
                path, below=to.below, ours_sha256=ours
            ):
                foreign_path = path
        return False, foreign_path

    def _write(
        self,
        to: Destination,
        plan: NamePlan,
        contents: Mapping[str, bytes],
        written: dict[str, tuple[Path, str]],
    ) -> None:
        """Write the missing formats and add each to `written`. Raises NameTaken, RetryLater."""
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
            reason = f"{self._describe_blocker(item.to, plan)}; it was kept and the transcript is {alternate}"
        return self._record(item, state, reason, list(written.values()))

    def _describe_blocker(self, to: Destination, plan: NamePlan) -> str:
        """Describe the file that has the transcript's preferred name."""
        if plan.foreign is None:
            return "the name was taken by a file that thoth-watch did not write"
        owner = self._ledger.owner_of(plan.foreign)
        is_edited = owner is not None and owner[0] == to.item.file_id and owner[1] is not None
        return (
            f"{plan.foreign.name} {'was edited' if is_edited else 'was not written by thoth-watch'}"
        )

    def _record_no_name(
        self, item: NewTranscript, written: Mapping[str, tuple[Path, str]]
    ) -> FileOutcome:
        reason = "all names for this transcript are taken by files not written by thoth-watch; move them, then retry"
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
