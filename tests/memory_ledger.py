"""A ledger in memory with the same results as the databases, for tests that need no durability."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from tests.memory_tables import NameRow, Tables
from thoth_watch.application.ports import ledger as port
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import NameTaken
from thoth_watch.domain.run import RunStatus
from thoth_watch.domain.states import MAX_RETRY_WAIT_S, State
from thoth_watch.infrastructure.ledger import runs as run_rows

FAILURES = {State.RETRY, State.FAILED, State.QUARANTINED, State.SEEN, State.GONE}


class MemoryLedger:
    """All roles in one object, with the signatures of the ports, which document them.

    A write changes a copy of the tables, so that it is applied whole or not at all.
    """

    def __init__(self, *, death_limit: int = 10) -> None:
        self.tables, self.death_limit, self._lock = Tables(), death_limit, threading.Lock()

    inbox = queue = results = runs = archive = property(lambda self: self)

    @contextmanager
    def _write(self):
        with self._lock:
            changed = self.tables.snapshot()
            yield changed
            self.tables = changed  # not reached if an error is raised

    def known_files(self, inbox):
        rows = [r for r in self.tables.files.values() if r.file.inbox == inbox]
        known = [row for row in rows if row.state != State.GONE]
        return {r.file.path: port.KnownFile(r.file_id, r.state, r.file.signature) for r in known}

    def settling(self, inbox):
        return {r.file.path for r in self.tables.where(State.SEEN) if r.file.inbox == inbox}

    def record_listing(self, *, seen, ready, refused, gone, now):
        with self._write() as t:
            for file, reason in seen:
                t.see(file, reason)
            for file, seconds in ready:
                t.settle(file, seconds or 0.0, now=now)
            for entry in refused:
                t.refuse(AudioFile(entry.inbox, entry.path, None), entry.reason)
            for path in [path for path in gone if path in t.file_ids]:
                row = t.files[t.file_ids[path]]
                if row.state != State.GONE:
                    t.change(row, State.GONE, "no longer on disk", next_try_at=None)

    def fail_empty_files(self, paths, *, now):
        with self._write() as t:
            for row in t.where(State.SEEN):
                if row.file.path in set(paths) and row.file.signature.size_bytes == 0:
                    t.change(row, State.FAILED, "the file stayed empty (0 bytes)")

    def waiting(self, resolve_file_options):
        rows = self.tables.where(State.READY)
        return [replace(row, file_options=resolve_file_options(row.file)) for row in rows]

    def requeue_due_retries(self, *, now):
        latest = now + timedelta(seconds=MAX_RETRY_WAIT_S)
        facts = {"ready_at_s": now.timestamp(), "next_try_at": None}
        with self._write() as t:
            due = [row for row in t.where(State.RETRY) if not now < row.next_try_at <= latest]
            for row in due:
                t.change(row, State.READY, f"retrying after: {row.reason}", **facts)
        return len(due)

    def next_retry_at(self):
        return min((row.next_try_at for row in self.tables.where(State.RETRY)), default=None)

    def realtime_factor(self):
        ended = {RunStatus.DONE, RunStatus.PARTIAL}
        runs = [r for r in self.tables.runs.values() if r["status"] in ended and r["wall_s"] > 0]
        worked_s = sum(run["wall_s"] - run["load_s"] for run in runs[-5:])
        audio_s = sum(run["audio_s"] for run in runs[-5:])
        return audio_s / worked_s if audio_s and worked_s > 0 else None

    def claim(self, batch, *, owner, now):
        wanted = {waiting.file_id: waiting.file.signature for waiting in batch.files}
        with self._write() as t:
            rows = [t.files[file_id] for file_id in wanted]
            ready = {row.file_id: row.file.signature for row in rows if row.state == State.READY}
            if not ready or ready != wanted:
                return None
            batch_id, claim_no = len(t.batches) + 1, 1 + max(row.claim_no for row in rows)
            t.batches[batch_id] = owner
            for row in rows:
                facts = {"attempts": row.attempts + 1, "claim_no": claim_no, "batch_id": batch_id}
                t.change(row, State.CLAIMED, f"in batch {batch_id}", **facts)
        return port.Claim(batch_id, claim_no, batch)

    def release(self, claim, *, now):
        reason = "released before it was started; waiting for a batch"
        with self._write() as t:
            rows = t.where(State.CLAIMED, batch_id=claim.batch_id)
            for row in rows:
                t.change(row, State.READY, reason, attempts=max(0, row.attempts - 1))
        return len(rows)

    def release_dead_claims(self, claim, *, has_died, now):
        released = 0 if has_died else self.release(claim, now=now)
        with self._write() as t:
            return released + t.recover({claim.batch_id}, death_limit=self.death_limit, now=now)

    def recover_claims(self, *, now):
        with self._write() as t:
            return t.recover(set(t.batches), death_limit=self.death_limit, now=now)

    def find_result(self, sha256, fingerprint):
        return self.tables.results.get((sha256, fingerprint))

    def find_existing_results(self, keys):
        return set(keys) & self.tables.results.keys()

    def find_partial_transcript(self, sha256, fingerprint):
        return self.tables.unfinished.get((sha256, fingerprint))

    def save_partial_transcript(self, sha256, fingerprint, partial, *, now):
        with self._write() as t:
            t.unfinished[sha256, fingerprint] = partial

    def owners_of(self, paths):
        names = {path: self.tables.publications.get(path) for path in paths}
        return {path: (name.file_id, name.sha256) for path, name in names.items() if name}

    def record_results(self, claim, results, *, run_id, now):
        recorded, reserved = {}, set()
        with self._write() as t:
            for new in results:
                row, paths = t.files[new.file_id], {path for _, path in new.names}
                if not row.is_held(claim.claim_no):
                    continue
                if len(paths) < len(new.names):
                    raise ValueError(f"file {row.file_id}: two formats share one output name")
                owners = {p: t.publications[p] for p in paths & t.publications.keys()}
                if {name.file_id for name in owners.values()} - {row.file_id}:
                    recorded[row.file_id] = None
                    continue
                earlier = {path: name.sha256 for path, name in owners.items() if name.sha256}
                recorded[row.file_id], reserved = earlier, reserved | paths
                for format_name, path in new.names:
                    facts = (new.name_kind, row.claim_no, earlier.get(path))
                    t.publications[path] = NameRow(row.file_id, format_name, *facts)
                t.complete(row, new, run_id=run_id)
                key = (new.sha256, new.fingerprint)
                t.results[key] = self.tables.results.get(key, new.result)  # an earlier one is kept
            done = {file_id for file_id, earlier in recorded.items() if earlier is not None}
            t.release_names(done, keep=reserved)
        return recorded

    def record_published(self, published, *, now):
        ended = set()
        with self._write() as t:
            for one in published:
                row, is_done = t.files[one.file_id], one.state == State.DONE
                if not is_done and one.state != State.CONFLICT:
                    raise ValueError(f"file {one.file_id}: publishing cannot end in {one.state}")
                if not row.is_held(one.claim_no) or (is_done and row.state == State.CLAIMED):
                    continue
                facts = {"done_at": now if is_done else None, "next_try_at": None, "setbacks": 0}
                t.change(row, one.state, one.reason, **facts)
                for path, sha256 in one.written:
                    new = NameRow(one.file_id, path.suffix.removeprefix("."), "alternate")
                    name = t.publications.get(path, new)
                    if name.file_id != one.file_id:
                        raise NameTaken(f"{path}: is the transcript of another recording")
                    t.publications[path] = replace(name, sha256=sha256, claim_no=one.claim_no)
                ended.add(one.file_id)
            t.release_names(ended)
        return ended

    def unpublished(self, resolve_file_options):
        found = []
        for row in self.tables.where(State.RESULT):
            names = self.tables.planned_names(row)
            planned = tuple((name.format, path) for path, name in names.items())
            kind = next((name.kind for name in names.values()), "stem")
            waiting = replace(row, file_options=resolve_file_options(row.file))
            result = self.tables.results[row.sha256, row.fingerprint]
            facts = (row.claim_no, row.sha256, result, planned, kind)
            found.append(port.UnpublishedResult(waiting, *facts))
        return found

    def open_run(self, claim, **facts):
        with self._write() as t:
            run_id = t.add_run(run_rows._opening_columns(batch_id=claim.batch_id, **facts))
            for row in t.where(State.CLAIMED, batch_id=claim.batch_id):
                t.files[row.file_id] = replace(row, run_id=run_id)
        return run_id

    def record_failed_start(self, **facts):
        with self._write() as t:
            return t.add_run(run_rows._failed_start_columns(**facts))

    def close_run(self, run_id, run, outcomes):
        with self._write() as t:
            t.runs[run_id] = t.runs[run_id] | run_rows._closing_columns(run)

    def record_failure(self, claim, *, outcome, run_id, now):
        state, counts = outcome.state, outcome.counts_as_attempt
        if state not in FAILURES:
            raise ValueError(f"file {outcome.file_id}: {state} is not a failure state")
        with self._write() as t:
            row = t.files[outcome.file_id]
            if not row.is_held(claim.claim_no):
                return False
            facts = {
                "run_id": run_id,
                "attempts": row.attempts if counts else max(0, row.attempts - 1),
                "crashes": row.crashes + outcome.crashed,
                "setbacks": 0 if counts else row.setbacks + 1,
                "next_try_at": (outcome.next_try_at or now) if state == State.RETRY else None,
                "sha256": row.sha256 if outcome.sha256 is None else outcome.sha256,
                "audio_s": row.audio_s if outcome.duration_s is None else outcome.duration_s,
            }
            t.change(row, state, outcome.reason, **facts)
        return True

    def finished(self, inbox):
        rows = [r for r in self.tables.where(State.DONE) if r.file.inbox == inbox and r.sha256]
        rows.sort(key=lambda row: (row.done_at, row.file_id))
        return [port.FinishedFile(r.file_id, r.file, r.sha256, r.claim_no) for r in rows]

    def has_path(self, path):
        return path in self.tables.file_ids

    def record_moved(self, done, *, to, now):
        reason = f"moved here from {done.file.path} after it was transcribed"
        with self._write() as t:
            row = t.files[done.file_id]
            if (row.state, row.claim_no) != (State.DONE, done.claim_no):
                return False
            t.file_ids[to.path] = t.file_ids.pop(row.file.path)
            t.change(row, State.DONE, reason, file=to)
        return True
