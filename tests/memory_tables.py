"""The rows of the in-memory ledger, and the steps that its transactions have in common."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from thoth_watch.application.ports.ledger import NewResult, StoredResult
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.run import RunStatus
from thoth_watch.domain.states import State, is_legal_transition
from thoth_watch.domain.transcript import PartialTranscript

WITHOUT_TRANSCRIPT = {State.GONE, State.REFUSED, State.FAILED, State.QUARANTINED}
NEW = "new; waiting for it to settle"
CHANGED = "changed on disk; waiting for it to settle"
REAPPEARED = "reappeared; waiting for it to settle"
KILLED = "the program was killed or the machine stopped before the run ended"


@dataclass(frozen=True)
class FileRow(WaitingFile):
    """One entry of an inbox: the facts of a waiting file, and those of every other state.

    The signature of a refused entry is None; audio_s is 0 while the length is unknown.
    """

    state: State = State.SEEN
    reason: str = ""
    sha256: str | None = None
    fingerprint: str | None = None
    generation: int = 1
    claim_no: int = 0
    batch_id: int | None = None
    run_id: int | None = None
    done_at: datetime | None = None
    next_try_at: datetime | None = None

    def columns(self) -> dict[str, Any]:
        """Return the columns of the table `files`, as the reader of a database does."""
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        paths = {"path": str(self.file.path), "inbox": str(self.file.inbox)}
        return own | paths | {"id": self.file_id, "duration_s": self.audio_s or None}

    def is_held(self, claim_no: int) -> bool:
        return self.claim_no == claim_no and self.state in {State.CLAIMED, State.RESULT}

    def with_version(self, file: AudioFile) -> FileRow:
        """Return the row of this version of the file; what is known of another one is reset."""
        if file.signature == self.file.signature:
            return self
        if self.state == State.SEEN:  # it was still settling
            return replace(self, file=file, attempts=0, crashes=0, deaths=0, setbacks=0)
        return self.new_version(file)

    def new_version(self, file: AudioFile) -> FileRow:
        kept = {"state": self.state, "reason": self.reason, "run_id": self.run_id}
        numbers = {"generation": self.generation + 1, "claim_no": self.claim_no + 1}
        return FileRow(self.file_id, file, self.file_options, 0.0, **kept, **numbers)


@dataclass(frozen=True)
class NameRow:
    """One output name of a recording; sha256 is None while the name is only reserved."""

    file_id: int
    format: str
    kind: str
    claim_no: int = 0
    sha256: str | None = None


@dataclass
class Tables:
    """Rows by key, named as in the databases. A row never changes, so that copied dicts are a snapshot."""

    files: dict[int, FileRow] = field(default_factory=dict)
    file_ids: dict[Path, int] = field(default_factory=dict)
    batches: dict[int, str] = field(default_factory=dict)  # owner
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    results: dict[tuple[str, str], StoredResult] = field(default_factory=dict)
    unfinished: dict[tuple[str, str], PartialTranscript] = field(default_factory=dict)
    publications: dict[Path, NameRow] = field(default_factory=dict)

    def snapshot(self) -> Tables:
        return Tables(*(table.copy() for table in vars(self).values()))

    def where(self, *states: State, **columns: Any) -> list[FileRow]:
        """Return the files in one of these states whose columns have these values, by id."""
        rows = [row for row in self.files.values() if row.state in states]
        return [row for row in rows if all(getattr(row, c) == v for c, v in columns.items())]

    def at(self, file: AudioFile, *, state: State = State.SEEN) -> FileRow:
        """Return the row at a path; insert one in that state if there is none."""
        file_id = self.file_ids.setdefault(file.path, len(self.files) + 1)
        new = FileRow(file_id, file, FileOptions(), 0.0, state=state)
        return self.files.setdefault(file_id, new)

    def change(self, row: FileRow, after: State, reason: str, **values: Any) -> None:
        """Change the state of a file. Raises ValueError for an illegal transition."""
        if not is_legal_transition(row.state, after):
            text = f"{row.state} to {after} is not a legal transition"
            raise ValueError(f"file {row.file_id}: {text}")
        reason = reason.strip() or ("" if after == State.DONE else f"{after}: no reason given")
        self.files[row.file_id] = replace(row, state=after, reason=reason, **values)
        if after in WITHOUT_TRANSCRIPT:
            self.release_names({row.file_id})

    def see(self, file: AudioFile, reason: str) -> None:
        """Make a new, changed or settling file SEEN."""
        is_new = file.path not in self.file_ids
        old = self.at(file)
        row = old.with_version(file)
        if row is not old:
            self.change(row, State.SEEN, reason or CHANGED, file=file)
        elif row.state in {State.SEEN, State.GONE}:
            self.change(row, State.SEEN, reason or (NEW if is_new else ""), file=file)

    def settle(self, file: AudioFile, audio_s: float, *, now: datetime) -> None:
        """Make a settled file READY; a file in another state keeps it unless it changed."""
        old = self.at(file)
        row = old.with_version(file)
        if row.state == State.SEEN:
            facts = {"ready_at_s": now.timestamp(), "audio_s": audio_s, "next_try_at": None}
            self.change(row, State.READY, "waiting for a batch", **facts)
        elif row is not old or row.state == State.GONE:
            self.change(row, State.SEEN, REAPPEARED if row is old else CHANGED)

    def refuse(self, file: AudioFile, reason: str) -> None:
        """Make an entry REFUSED, which ends the version that was known."""
        row = self.at(file, state=State.REFUSED)
        row = row if row.state == State.REFUSED else row.new_version(file)
        self.change(row, State.REFUSED, reason, file=file)

    def release_names(self, file_ids: set[int], *, keep: set[Path] = frozenset()) -> None:
        """Delete the names that these files reserved but never used."""
        for path, name in list(self.publications.items()):
            if name.file_id in file_ids and name.sha256 is None and path not in keep:
                del self.publications[path]

    def planned_names(self, row: FileRow) -> dict[Path, NameRow]:
        """Return the names that the last claim of a file reserved."""
        last = (row.file_id, row.claim_no)
        names = self.publications.items()
        return {path: name for path, name in names if (name.file_id, name.claim_no) == last}

    def complete(self, row: FileRow, new: NewResult, *, run_id: int) -> None:
        """Make a file RESULT and delete the partial transcripts of its key."""
        facts = {"sha256": new.sha256, "fingerprint": new.fingerprint, "run_id": run_id}
        facts["audio_s"] = new.result.transcript.duration_s
        self.change(
            row, State.RESULT, "transcript stored in the ledger, not yet published", **facts
        )
        for sha256, fingerprint in list(self.unfinished):
            is_part = f"{fingerprint}/".startswith(f"{new.fingerprint}/")
            if sha256 == new.sha256 and is_part:
                del self.unfinished[sha256, fingerprint]

    def add_run(self, columns: dict[str, Any]) -> int:
        run_id = len(self.runs) + 1
        self.runs[run_id] = {"id": run_id, "error": None, **columns}
        return run_id

    def recover(self, dead: set[int], *, death_limit: int, now: datetime) -> int:
        """Make the runs of dead batches INTERRUPTED and their CLAIMED files READY or QUARANTINED."""
        for run_id, run in self.runs.items():
            if run["status"] == RunStatus.RUNNING and run["batch_id"] in dead:
                ok = self.where(State.RESULT, State.DONE, run_id=run_id)
                sums = {"files_ok": len(ok), "audio_s": sum(row.audio_s for row in ok)}
                end = {"status": str(RunStatus.INTERRUPTED), "finished_at": now, "error": KILLED}
                self.runs[run_id] = run | end | sums
        rows = [row for row in self.where(State.CLAIMED) if row.batch_id in dead]
        for row in rows:
            deaths, after = row.deaths + 1, State.READY
            reason = f"the program died while processing this file ({deaths}); retrying it alone"
            if deaths >= death_limit:
                after = State.QUARANTINED
                reason = f"the program died {deaths} times while processing this file"
            self.change(row, after, reason, deaths=deaths, attempts=max(0, row.attempts - 1))
        return len(rows)
