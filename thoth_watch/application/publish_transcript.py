"""Publishes transcripts in rounds: chooses names, reserves them in the ledger, writes the files, records them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from thoth_watch.application.output_names import (
    ALTERNATE,
    Destination,
    NameSearch,
    output_paths,
)
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.application.ports.ledger import (
    Claim,
    NewResult,
    PublishedResult,
    Results,
    StoredResult,
    UnpublishedResult,
)
from thoth_watch.application.ports.publishing import Output, TranscriptPublisher, TranscriptRenderer
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.file_options import NEXT_TO_SOURCE, FileOptions
from thoth_watch.domain.naming import candidate_names, language_in_name
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import State

NO_NAME_REASON = "all names for this transcript are taken by files not written by thoth-watch; move them, then retry"


@dataclass(frozen=True, slots=True)
class NewTranscript:
    """A transcript that is neither in the ledger nor on disk yet."""

    to: Destination
    fingerprint: str
    result: StoredResult
    reused: bool  # from an earlier recording with the same audio


@dataclass(slots=True)
class _Pending:
    """A transcript that is not published yet: its content, the search for its names, the written files."""

    transcript: NewTranscript
    contents: Mapping[str, bytes]  # by format
    names: NameSearch
    written: dict[Path, str] = field(default_factory=dict)  # sha256 by path

    @property
    def to(self) -> Destination:
        return self.transcript.to

    @property
    def file_id(self) -> int:
        return self.transcript.to.item.file_id

    @property
    def paths(self) -> dict[str, Path]:
        """Return the current candidate's path of each format."""
        return self.names.paths or {}

    def own_hashes(self, format_name: str, earlier: str | None) -> set[str]:
        """Return the hashes of contents that are ours: this transcript's, and the one published before."""
        return {_sha256(self.contents[format_name])} | ({earlier} if earlier else set())


Outcomes = dict[int, FileOutcome | RetryLater | None]
PendingFiles = dict[int, _Pending]  # by the position of the transcript in the call


class PublishTranscript:
    """Publishes transcripts under free names, which the ledger records before and after the write."""

    def __init__(
        self,
        *,
        results: Results,
        publisher: TranscriptPublisher,
        render: TranscriptRenderer,
        clock: Clock,
    ) -> None:
        self._results = results
        self._publisher = publisher
        self._render = render
        self._clock = clock

    def new(
        self, transcripts: Sequence[NewTranscript], *, claim: Claim, run_id: int
    ) -> list[FileOutcome | RetryLater | None]:
        """Store new results, reserve their names and write them; return the outcome of each.

        None if the claim no longer holds the file, RetryLater if the disk is full or a folder is not
        writable. Each round tries the best remaining names of all that are pending, in two
        transactions; a transcript whose name is taken stays pending for the next round.
        """
        outcomes: Outcomes = {}
        pending = {n: self._pending(transcript) for n, transcript in enumerate(transcripts)}
        while pending:
            try:
                self._publish_round(pending, outcomes, claim=claim, run_id=run_id)
            except RetryLater as error:  # raised by the ledger
                outcomes.update(dict.fromkeys(pending, error))
            pending = {n: one for n, one in pending.items() if n not in outcomes}
        return [outcomes[n] for n in range(len(transcripts))]

    def unpublished(
        self, resolve_file_options: Callable[[AudioFile], FileOptions]
    ) -> list[UnpublishedResult]:
        """Return the results that are in the ledger but not published."""
        return self._results.unpublished(resolve_file_options)

    def publish_stored(self, unpublished: UnpublishedResult) -> FileOutcome:
        """Publish a result that a killed process left in the ledger, under the names it had reserved.

        Files that the killed process wrote are adopted. Raises RetryLater.
        """
        to = Destination(unpublished.waiting, unpublished.sha256, unpublished.claim_no)
        transcript = NewTranscript(to, fingerprint="", result=unpublished.result, reused=True)
        one = _Pending(
            transcript,
            # the configured formats may have changed since the names were reserved
            self._contents(unpublished.result, [name for name, _ in unpublished.names]),
            NameSearch(iter([("", unpublished.name_kind)]), lambda _: dict(unpublished.names)),
        )
        owners = self._results.owners_of(list(one.paths.values()))
        earlier = {p: sha for p, (owner, sha) in owners.items() if owner == one.file_id and sha}
        outcomes: Outcomes = {}
        self._write({0: one}, {0: earlier}, outcomes)
        outcome = outcomes.get(0)
        if isinstance(outcome, RetryLater):
            raise outcome
        ending = self._success(one) if one.names.paths else self._no_name(one)
        self._results.record_published([ending], now=self._clock.now())
        return _outcome(one, ending)

    def _publish_round(
        self, pending: PendingFiles, outcomes: Outcomes, *, claim: Claim, run_id: int
    ) -> None:
        """Try the next free names of every pending transcript; add those that ended to the outcomes."""
        planned = self._choose_names(pending, outcomes)
        earlier: dict[int, Mapping[Path, str]] = {}
        if planned:
            recorded = self._results.record_results(
                claim,
                [_new_result(one) for one in planned.values()],
                run_id=run_id,
                now=self._clock.now(),
            )
            for n, one in planned.items():
                if one.file_id not in recorded:
                    outcomes[n] = None
                elif (published := recorded[one.file_id]) is None:
                    one.names.advance()  # another worker reserved the name first
                else:
                    earlier[n] = published
        self._write({n: planned[n] for n in earlier}, earlier, outcomes)
        ended = {
            n: self._success(one)
            for n, one in planned.items()
            if n not in outcomes and len(one.written) == len(one.contents)
        }
        for n, one in pending.items():
            if n not in outcomes and one.names.paths is None:
                ended[n] = self._no_name(one)
        if ended:
            self._results.record_published(list(ended.values()), now=self._clock.now())
        outcomes.update({n: _outcome(pending[n], ending) for n, ending in ended.items()})

    def _choose_names(self, pending: PendingFiles, outcomes: Outcomes) -> PendingFiles:
        """Advance each pending transcript to names that are free; return those that have such names.

        A transcript whose names overlap with those of an earlier one waits for the next round.
        """
        planned: PendingFiles = {}
        searching = {n: one for n, one in pending.items() if one.names.paths is not None}
        chosen: set[Path] = set()
        while searching:
            owners = self._results.owners_of(
                [p for one in searching.values() for p in one.paths.values()]
            )
            for n, one in list(searching.items()):
                if not chosen.isdisjoint(one.paths.values()):
                    del searching[n]
                    continue
                try:
                    is_free = self._is_free(one, owners)
                except RetryLater as error:  # the folder cannot be read
                    outcomes[n] = error
                    del searching[n]
                    continue
                if is_free:
                    planned[n] = searching.pop(n)
                    chosen.update(one.paths.values())
                elif one.names.paths is None:
                    del searching[n]
        return planned

    def _is_free(self, one: _Pending, owners: Mapping[Path, tuple[int, str | None]]) -> bool:
        """Return True if the current names are free; otherwise advance to the next ones.

        A file with exactly the content to be written is not foreign: an attempt that failed halfway
        has left it, and it is adopted.
        """
        if any(owners.get(path, (one.file_id,))[0] != one.file_id for path in one.paths.values()):
            one.names.advance()  # another recording's transcript has the name
            return False
        for name, path in one.paths.items():
            _, earlier = owners.get(path, (one.file_id, None))
            ours = one.own_hashes(name, earlier)
            if self._publisher.is_foreign(path, below=one.to.below, ours_sha256=ours):
                one.names.advance(foreign=path)
                return False
        return True

    def _write(
        self,
        reserved: PendingFiles,
        earlier: Mapping[int, Mapping[Path, str]],
        outcomes: Outcomes,
    ) -> None:
        """Write the files under the reserved names; advance to the next names where one was taken meanwhile.

        earlier: sha256 of our own older transcript by path, which may be replaced.
        """
        outputs = [
            (n, name, path)
            for n, one in reserved.items()
            for name, path in one.paths.items()
            if path not in one.written
        ]
        problems = self._publisher.publish_all(
            [
                Output(
                    path,
                    reserved[n].contents[name],
                    below=reserved[n].to.below,
                    replaces_sha256=earlier[n].get(path),
                    creates_folder=reserved[n].to.item.file_options.output_dir != NEXT_TO_SOURCE,
                )
                for n, name, path in outputs
            ]
        )
        taken: dict[int, Path] = {}
        for (n, name, path), problem in zip(outputs, problems, strict=True):
            if problem is None:
                reserved[n].written[path] = _sha256(reserved[n].contents[name])
                reserved[n].names.written[name] = path
            elif isinstance(problem, RetryLater):
                outcomes[n] = problem
            else:
                taken.setdefault(n, path)
        for n, path in taken.items():
            if n not in outcomes:
                self._skip_taken(n, reserved[n], path, outcomes)

    def _skip_taken(self, n: int, one: _Pending, path: Path, outcomes: Outcomes) -> None:
        """Advance to the next names, because a file appeared under a reserved one."""
        name = next(name for name, other in one.paths.items() if other == path)
        ours = one.own_hashes(name, None)
        try:
            is_foreign = self._publisher.is_foreign(path, below=one.to.below, ours_sha256=ours)
        except RetryLater as error:
            outcomes[n] = error
            return
        one.names.advance(foreign=path if is_foreign else None)

    def _pending(self, transcript: NewTranscript) -> _Pending:
        to, options = transcript.to, transcript.to.item.file_options
        candidates = candidate_names(
            to.item.file.path,
            pattern=options.name,
            sha256=to.sha256,
            language=language_in_name(transcript.result.transcript.language, options.task),
        )
        names = NameSearch(candidates, lambda base: output_paths(to, base))
        return _Pending(transcript, self._contents(transcript.result, options.formats), names)

    def _contents(self, result: StoredResult, formats: Sequence[str]) -> dict[str, bytes]:
        """Return the whole file content of each format."""
        return {
            name: self._render(result.transcript, name, provenance=result.provenance)
            for name in formats
        }

    def _success(self, one: _Pending) -> PublishedResult:
        """Return the record of a published transcript: DONE, or CONFLICT under an alternate name."""
        if one.names.kind != ALTERNATE:
            return _published(one, State.DONE, "")
        alternate = list(one.paths.values())[-1].name
        return _published(
            one,
            State.CONFLICT,
            f"{self._describe_blocker(one)}; it was kept and the transcript is {alternate}",
        )

    def _no_name(self, one: _Pending) -> PublishedResult:
        return _published(one, State.CONFLICT, NO_NAME_REASON)

    def _describe_blocker(self, one: _Pending) -> str:
        """Describe the foreign file that has the transcript's preferred name."""
        foreign = one.names.foreign
        if foreign is None:
            return "the name was taken by a file that thoth-watch did not write"
        owner = self._results.owners_of([foreign]).get(foreign)
        is_edited = owner is not None and owner[0] == one.file_id and owner[1] is not None
        return f"{foreign.name} {'was edited' if is_edited else 'was not written by thoth-watch'}"


def _new_result(one: _Pending) -> NewResult:
    return NewResult(
        file_id=one.file_id,
        sha256=one.to.sha256,
        fingerprint=one.transcript.fingerprint,
        result=one.transcript.result,
        names=tuple(one.paths.items()),
        name_kind=one.names.kind,
    )


def _published(one: _Pending, state: State, reason: str) -> PublishedResult:
    return PublishedResult(
        file_id=one.file_id,
        claim_no=one.to.claim_no,
        state=state,
        reason=reason,
        written=tuple(one.written.items()),
    )


def _outcome(one: _Pending, ending: PublishedResult) -> FileOutcome:
    return FileOutcome(
        one.file_id,
        ending.state,
        ending.reason,
        sha256=one.to.sha256,
        duration_s=one.transcript.result.transcript.duration_s,
        reused=one.transcript.reused,
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
