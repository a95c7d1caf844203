"""The contract of every ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.ledgers import Ledger
from thoth_watch.application.ports.ledger import Claim, NewResult, PublishedResult, StoredResult
from thoth_watch.domain.audio import AudioFile, RefusedEntry, Signature
from thoth_watch.domain.batching import Batch, WaitingFile
from thoth_watch.domain.engine import Fallback, Placement, TranscriptionEngineConfig
from thoth_watch.domain.errors import NameTaken
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.run import FileOutcome, Run, RunStatus, StageSeconds
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import PartialTranscript, Segment, Transcript, Verdict, Word

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
INBOX = Path("/in")
REQUESTED = TranscriptionEngineConfig()
PLACEMENT = Placement(
    engine="accelerated",
    model="builtin",
    model_revision="sha256:abc",
    device="cpu",
    device_name="a processor",
    precision="float32",
    mixed_precision="no",
    batch_size=8,
    versions={"torch": "2.13.0"},
)
TRANSCRIPT = Transcript(
    segments=(
        Segment(0.1, 1.7, " één 日本 \udcff", tokens=(1, 50257), avg_logprob=-0.3, seek=0),
        Segment(
            1.7,
            2.0,
            " deux",
            temperature=0.2,
            avg_logprob=float("-inf"),
            words=(Word(1.7, 2.0, " deux", 0.9),),
        ),
    ),
    language="fr",
    duration_s=2.5,
    verdict=Verdict.SUSPECT,
    warnings=("odd",),
    n_tokens=7,
)
RESULT = StoredResult(TRANSCRIPT, {"program": "thoth-watch", "duration": 2.5})


def recording(name: str = "a.wav", *, size: int = 100, version: int = 1) -> AudioFile:
    return AudioFile(INBOX, INBOX / name, Signature(size, version * 10**18, version, 7, 2**64 - 1))


def record(ledger: Ledger, *, now: datetime = NOW, **changes: object) -> None:
    parts = {"seen": [], "ready": [], "refused": [], "gone": []} | changes
    ledger.record_listing(**parts, now=now)


def make_ready(ledger: Ledger, *files: AudioFile, now: datetime = NOW) -> list[WaitingFile]:
    record(ledger, seen=[(file, "new") for file in files], now=now)
    record(ledger, ready=[(file, 3.0) for file in files], now=now)
    return waiting(ledger, *files)


def waiting(ledger: Ledger, *files: AudioFile) -> list[WaitingFile]:
    wanted = {file.path for file in files}
    return [
        w for w in ledger.waiting(lambda _: FileOptions()) if not wanted or w.file.path in wanted
    ]


def make_claim(ledger: Ledger, *files: AudioFile) -> Claim:
    claim = ledger.claim(Batch(tuple(make_ready(ledger, *files))), owner="me", now=NOW)
    assert claim is not None
    return claim


def open_run(ledger: Ledger, claim: Claim) -> int:
    return ledger.open_run(claim, requested=REQUESTED, placement=PLACEMENT, now=NOW)


def put_result(
    ledger: Ledger,
    claim: Claim,
    *,
    file_id: int | None = None,
    names: tuple[str, ...] = ("a.txt",),
    sha256: str = "s1",
) -> bool:
    file_id = file_id or claim.batch.files[0].file_id
    new = NewResult(
        file_id=file_id,
        sha256=sha256,
        fingerprint="f1",
        result=RESULT,
        names=tuple((name.rsplit(".", 1)[1], INBOX / name) for name in names),
        name_kind="stem",
    )
    recorded = ledger.record_results(claim, [new], run_id=open_run(ledger, claim), now=NOW)
    if file_id in recorded and recorded[file_id] is None:
        raise NameTaken(f"{names}: another recording has one of these names")
    return file_id in recorded


def owner_of(ledger: Ledger, path: Path) -> tuple[int, str | None] | None:
    return ledger.owners_of([path]).get(path)


def publish(ledger: Ledger, claim: Claim, *, name: str = "a.txt", sha256: str = "w1") -> bool:
    item = claim.batch.files[0]
    written = ((INBOX / name, sha256),)
    published = PublishedResult(item.file_id, claim.claim_no, State.DONE, "", written)
    return ledger.record_published([published], now=NOW) == {item.file_id}


def fail(ledger: Ledger, claim: Claim, state: State, **fields: object) -> bool:
    outcome = FileOutcome(claim.batch.files[0].file_id, state, **({"reason": "why"} | fields))
    return ledger.record_failure(claim, outcome=outcome, run_id=open_run(ledger, claim), now=NOW)


def state_of(ledger: Ledger, name: str = "a.wav") -> State | None:
    known_files = ledger.known_files(INBOX).get(INBOX / name)
    return known_files and known_files.state


def test_a_new_file_is_seen_then_ready_and_waits_with_all_its_data(ledger: Ledger) -> None:
    file = recording()
    record(ledger, seen=[(file, "new")])
    assert state_of(ledger) is State.SEEN
    assert ledger.settling(INBOX) == {file.path}
    assert ledger.known_files(INBOX)[file.path].signature == file.signature
    record(ledger, ready=[(file, 12.5)], now=NOW + timedelta(seconds=2))
    (found,) = ledger.waiting(lambda requested: FileOptions(language=requested.path.suffix))
    assert found.file == file
    assert found.file_options.language == ".wav"
    assert found.audio_s == 12.5
    assert found.ready_at_s == pytest.approx((NOW + timedelta(seconds=2)).timestamp())
    assert (found.attempts, found.crashes, found.setbacks) == (0, 0, 0)
    assert ledger.settling(INBOX) == set()


def test_a_file_belongs_to_one_inbox(ledger: Ledger) -> None:
    record(ledger, seen=[(recording(), "new")])
    assert ledger.known_files(Path("/elsewhere")) == {}
    assert ledger.settling(Path("/elsewhere")) == set()


def test_a_batch_is_claimed_whole_or_not_at_all(ledger: Ledger) -> None:
    a, b = make_ready(ledger, recording("a.wav"), recording("b.wav"))
    first = ledger.claim(Batch((a,)), owner="me", now=NOW)
    assert first is not None
    assert ledger.claim(Batch((a, b)), owner="you", now=NOW) is None
    assert state_of(ledger, "b.wav") is State.READY
    assert [item.file_id for item in waiting(ledger)] == [b.file_id]


def test_a_claim_of_another_version_of_the_file_is_refused(ledger: Ledger) -> None:
    (old,) = make_ready(ledger, recording())
    make_ready(ledger, recording(version=2))
    assert ledger.claim(Batch((old,)), owner="me", now=NOW) is None


def test_a_published_file_is_done_and_owns_its_names(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording())
    assert put_result(ledger, claim, names=("a.txt", "a.json"))
    assert state_of(ledger) is State.RESULT
    assert owner_of(ledger, INBOX / "a.txt") == (claim.batch.files[0].file_id, None)
    assert publish(ledger, claim)
    assert state_of(ledger) is State.DONE
    assert owner_of(ledger, INBOX / "a.txt") == (claim.batch.files[0].file_id, "w1")
    assert owner_of(ledger, INBOX / "a.json") is None  # reserved, never written
    assert owner_of(ledger, INBOX / "b.txt") is None


def test_a_result_is_stored_without_loss(ledger: Ledger) -> None:
    assert ledger.find_result("s1", "f1") is None
    put_result(ledger, make_claim(ledger, recording()))
    found = ledger.find_result("s1", "f1")
    assert found is not None
    assert found.transcript == TRANSCRIPT
    assert dict(found.provenance) == dict(RESULT.provenance)
    assert ledger.find_result("s1", "f2") is None


def test_existing_results_are_found_for_many_keys(ledger: Ledger) -> None:
    put_result(ledger, make_claim(ledger, recording()))
    many = {(f"s{n}", "f1") for n in range(1_200)}
    assert ledger.find_existing_results(many | {("s1", "f2")}) == {("s1", "f1")}
    assert ledger.find_existing_results(set()) == set()


def test_the_first_result_of_a_key_is_kept(ledger: Ledger) -> None:
    put_result(ledger, make_claim(ledger, recording("a.wav")))
    claim = make_claim(ledger, recording("b.wav"))
    assert put_result(ledger, claim, names=("b.txt",))
    assert [
        item.waiting.file.path.name for item in ledger.unpublished(lambda _: FileOptions())
    ] == [
        "a.wav",
        "b.wav",
    ]


def test_a_late_writer_is_fenced_off_when_the_file_changed(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording())
    record(ledger, seen=[(recording(version=2), "changed")])
    assert state_of(ledger) is State.SEEN
    assert not put_result(ledger, claim)
    assert not fail(ledger, claim, State.FAILED)
    assert ledger.find_result("s1", "f1") is None


def test_a_late_writer_is_fenced_off_after_another_claim(ledger: Ledger) -> None:
    old = make_claim(ledger, recording())
    ledger.recover_claims(now=NOW)
    new = ledger.claim(Batch(tuple(waiting(ledger))), owner="you", now=NOW)
    assert new is not None
    assert new.claim_no > old.claim_no
    assert not put_result(ledger, old)
    assert not fail(ledger, old, State.FAILED)
    assert ledger.release(old, now=NOW) == 0
    assert put_result(ledger, new)
    assert not publish(ledger, old)
    assert publish(ledger, new)


def test_a_result_whose_file_changed_is_not_published(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording())
    assert put_result(ledger, claim)
    record(ledger, seen=[(recording(version=2), "changed")])
    assert not publish(ledger, claim)
    assert state_of(ledger) is State.SEEN


def test_a_name_belongs_to_one_recording(ledger: Ledger) -> None:
    put_result(ledger, make_claim(ledger, recording("a.wav")))
    claim = make_claim(ledger, recording("a.mp3"))
    with pytest.raises(NameTaken, match=r"a\.txt"):
        put_result(ledger, claim, names=("a.json", "a.txt"))
    assert state_of(ledger, "a.mp3") is State.CLAIMED
    assert owner_of(ledger, INBOX / "a.json") is None
    assert put_result(ledger, claim, names=("a.mp3.txt",))


def test_a_file_with_a_result_can_reserve_other_names(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording())
    assert put_result(ledger, claim, names=("a.txt",))
    assert put_result(ledger, claim, names=("a.wav.txt",))
    assert owner_of(ledger, INBOX / "a.txt") is None
    (found,) = ledger.unpublished(lambda _: FileOptions())
    assert found.names == (("txt", INBOX / "a.wav.txt"),)


def test_a_published_name_keeps_its_owner(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording())
    put_result(ledger, claim)
    publish(ledger, claim)
    again = make_claim(ledger, recording(version=2))
    assert put_result(ledger, again, sha256="s2", names=("a.wav.txt",))
    assert owner_of(ledger, INBOX / "a.txt") == (claim.batch.files[0].file_id, "w1")
    (found,) = ledger.unpublished(lambda _: FileOptions())
    assert found.names == (("txt", INBOX / "a.wav.txt"),)


def test_a_recording_without_any_free_name_is_in_conflict(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording())
    item = claim.batch.files[0]

    def end(state: State, reason: str) -> set[int]:
        ending = PublishedResult(item.file_id, claim.claim_no, state, reason, written=())
        return ledger.record_published([ending], now=NOW)

    assert not end(State.DONE, "")
    assert end(State.CONFLICT, "no name is free")
    assert state_of(ledger) is State.CONFLICT


def test_a_gone_file_releases_its_reserved_names(ledger: Ledger) -> None:
    put_result(ledger, make_claim(ledger, recording("a.wav")))
    record(ledger, gone=[INBOX / "a.wav"])
    assert owner_of(ledger, INBOX / "a.txt") is None
    assert put_result(ledger, make_claim(ledger, recording("a.mp3")))


def test_unpublished_results_are_found_again(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording())
    put_result(ledger, claim, names=("a.txt", "a.json"))
    ledger.recover_claims(now=NOW)
    (found,) = ledger.unpublished(lambda _: FileOptions(language="fr"))
    assert found.waiting.file == recording()
    assert found.waiting.file_options.language == "fr"
    assert found.claim_no == claim.claim_no
    assert found.sha256 == "s1"
    assert found.result.transcript == TRANSCRIPT
    assert found.names == (("txt", INBOX / "a.txt"), ("json", INBOX / "a.json"))
    assert found.name_kind == "stem"
    assert publish(ledger, claim)
    assert ledger.unpublished(lambda _: FileOptions()) == []


def test_a_released_file_waits_and_its_attempt_is_not_counted(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording("a.wav"), recording("b.wav"))
    put_result(ledger, claim)
    assert ledger.release(claim, now=NOW) == 1
    (remaining,) = waiting(ledger)
    assert (remaining.file.path.name, remaining.attempts, remaining.crashes) == ("b.wav", 0, 0)
    assert state_of(ledger, "a.wav") is State.RESULT


def test_a_failure_counts_as_an_attempt_or_as_a_setback(ledger: Ledger) -> None:
    due = NOW + timedelta(seconds=60)
    claim = make_claim(ledger, recording())
    assert fail(ledger, claim, State.RETRY, next_try_at=due)
    assert ledger.next_retry_at() == due
    assert ledger.requeue_due_retries(now=due - timedelta(seconds=1)) == 0
    assert ledger.requeue_due_retries(now=due) == 1
    assert ledger.next_retry_at() is None
    (again,) = waiting(ledger)
    assert (again.attempts, again.setbacks) == (1, 0)
    for setbacks in (1, 2):
        claimed = ledger.claim(Batch((again,)), owner="me", now=NOW)
        assert claimed is not None
        assert fail(ledger, claimed, State.RETRY, next_try_at=due, counts_as_attempt=False)
        assert ledger.requeue_due_retries(now=due) == 1
        (again,) = waiting(ledger)
        assert (again.attempts, again.setbacks) == (1, setbacks)


def test_a_retry_that_is_years_away_is_due_immediately(ledger: Ledger) -> None:
    assert fail(ledger, make_claim(ledger, recording()), State.RETRY, next_try_at=NOW)
    hours_before = NOW - timedelta(hours=5)
    assert ledger.requeue_due_retries(now=hours_before) == 0
    assert ledger.requeue_due_retries(now=NOW - timedelta(days=3650)) == 1
    assert ledger.next_retry_at() is None


def test_a_file_that_crashed_is_isolated(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording())
    assert fail(ledger, claim, State.RETRY, crashed=True)
    assert ledger.requeue_due_retries(now=NOW) == 1
    assert waiting(ledger)[0].is_isolated


@pytest.mark.parametrize(
    "state", [State.FAILED, State.QUARANTINED, State.SEEN, State.GONE, State.RETRY]
)
def test_a_failed_file_gets_the_state_of_its_outcome(ledger: Ledger, state: State) -> None:
    assert fail(ledger, make_claim(ledger, recording()), state)
    assert state_of(ledger) == (None if state is State.GONE else state)


def test_a_success_cannot_be_recorded_as_a_failure(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording())
    with pytest.raises(ValueError, match="not a failure"):
        fail(ledger, claim, State.DONE)


def test_a_changed_file_starts_with_fresh_counts(ledger: Ledger) -> None:
    fail(ledger, make_claim(ledger, recording()), State.QUARANTINED, crashed=True)
    record(ledger, seen=[(recording(version=2), "changed")])
    record(ledger, ready=[(recording(version=2), None)])
    (found,) = waiting(ledger)
    assert (found.attempts, found.crashes, found.audio_s) == (0, 0, 0.0)
    assert found.file.signature == recording(version=2).signature


def test_an_unchanged_file_that_was_done_stays_done(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording())
    put_result(ledger, claim)
    publish(ledger, claim)
    record(ledger, seen=[(recording(), "again")])
    record(ledger, ready=[(recording(), 1.0)])
    assert state_of(ledger) is State.DONE


def test_a_file_that_is_removed_and_comes_back_is_seen(ledger: Ledger) -> None:
    record(ledger, seen=[(recording(), "new")])
    record(ledger, gone=[INBOX / "a.wav", INBOX / "never existed.wav"])
    assert ledger.known_files(INBOX) == {}
    record(ledger, seen=[(recording(), "back")])
    assert state_of(ledger) is State.SEEN


def test_a_refused_entry_that_becomes_a_file_is_seen(ledger: Ledger) -> None:
    entry = RefusedEntry(INBOX, INBOX / "a.wav", "a symbolic link")
    record(ledger, refused=[entry])
    assert ledger.known_files(INBOX)[entry.path].state is State.REFUSED
    assert ledger.known_files(INBOX)[entry.path].signature is None
    record(ledger, refused=[replace(entry, reason="a FIFO")])
    record(ledger, seen=[(recording(), "a file now")])
    assert state_of(ledger) is State.SEEN


@pytest.mark.parametrize("stage", ["SEEN", "READY", "CLAIMED", "RESULT", "DONE", "GONE"])
def test_a_file_may_be_replaced_by_a_symlink_at_any_time(ledger: Ledger, stage: str) -> None:
    if stage == "SEEN":
        record(ledger, seen=[(recording(), "new")])
    elif stage == "READY":
        make_ready(ledger, recording())
    else:
        claim = make_claim(ledger, recording())
        if stage != "CLAIMED":
            put_result(ledger, claim)
        if stage == "DONE":
            publish(ledger, claim)
        if stage == "GONE":
            record(ledger, gone=[INBOX / "a.wav"])
    record(ledger, refused=[RefusedEntry(INBOX, INBOX / "a.wav", "a symbolic link")])
    assert state_of(ledger) is State.REFUSED


def test_only_empty_files_are_failed_as_empty(ledger: Ledger) -> None:
    record(ledger, seen=[(recording("a.wav", size=0), "empty"), (recording("b.wav"), "new")])
    ledger.fail_empty_files([INBOX / "a.wav", INBOX / "b.wav"], now=NOW)
    assert state_of(ledger, "a.wav") is State.FAILED
    assert state_of(ledger, "b.wav") is State.SEEN


def test_the_files_of_a_dead_process_are_isolated_and_wait_again(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording("a.wav"), recording("b.wav"))
    open_run(ledger, claim)
    assert ledger.recover_claims(now=NOW) == 2
    assert all(item.is_isolated for item in waiting(ledger))
    assert ledger.recover_claims(now=NOW) == 0


def test_a_file_is_quarantined_after_ten_deaths_of_its_process(ledger: Ledger) -> None:
    make_ready(ledger, recording())
    for death in range(1, 11):
        assert ledger.claim(Batch(tuple(waiting(ledger))), owner="me", now=NOW) is not None
        assert ledger.recover_claims(now=NOW) == 1
        assert state_of(ledger) is (State.READY if death < 10 else State.QUARANTINED)


@pytest.mark.database("an administrator's retry is not part of any port")
def test_files_can_be_retried_on_request(ledger: Ledger) -> None:
    fail(ledger, make_claim(ledger, recording("a.wav")), State.QUARANTINED, crashed=True)
    fail(ledger, make_claim(ledger, recording("b.wav")), State.RETRY, next_try_at=NOW)
    record(ledger, seen=[(recording("c.wav", size=0), "empty")])
    ledger.fail_empty_files([INBOX / "c.wav"], now=NOW)
    assert ledger.retry(paths=[INBOX / "a.wav", INBOX / "none.wav"], now=NOW) == 1
    (found,) = waiting(ledger)
    assert (found.attempts, found.crashes) == (0, 0)
    assert ledger.retry(states=["FAILED"], now=NOW) == 1
    assert state_of(ledger, "c.wav") is State.SEEN
    assert ledger.retry(now=NOW) == 1
    assert ledger.retry() == 0


def test_a_run_is_closed_with_its_files(ledger: Ledger) -> None:
    claim = make_claim(ledger, recording())
    run_id = open_run(ledger, claim)
    outcome = FileOutcome(claim.batch.files[0].file_id, State.DONE, sha256="s1", duration_s=2.5)
    for _ in range(2):  # the second time replaces the first
        ledger.close_run(run_id, finished_run(), [outcome])
    assert (
        ledger.record_failed_start(requested=REQUESTED, error="no GPU", host="h", now=NOW) > run_id
    )


def test_a_moved_recording_keeps_its_row_and_its_names(ledger: Ledger):
    (item,) = make_ready(ledger, recording())
    assert ledger.finished(INBOX) == []
    finish(ledger, item)
    (done,) = ledger.finished(INBOX)
    assert (done.file_id, done.file.path, done.sha256) == (item.file_id, INBOX / "a.wav", "s1")

    moved = AudioFile(Path("/old"), Path("/old/a.wav"), replace(item.file.signature, changed_ns=9))
    assert not ledger.has_path(moved.path)
    assert ledger.record_moved(done, to=moved, now=NOW)

    assert ledger.has_path(moved.path)
    assert not ledger.has_path(INBOX / "a.wav")
    assert ledger.finished(INBOX) == []
    assert ledger.known_files(INBOX) == {}
    assert ledger.known_files(Path("/old"))[moved.path].signature == moved.signature
    assert owner_of(ledger, INBOX / "a.txt") == (item.file_id, "w1")


def test_a_recording_that_is_no_longer_done_is_not_recorded_as_moved(ledger: Ledger):
    (item,) = make_ready(ledger, recording())
    finish(ledger, item)
    (done,) = ledger.finished(INBOX)
    record(ledger, seen=[(recording(size=200, version=2), "changed")])

    moved = AudioFile(Path("/old"), Path("/old/a.wav"), item.file.signature)
    assert not ledger.record_moved(done, to=moved, now=NOW)
    assert state_of(ledger) == State.SEEN


def finish(ledger: Ledger, item: WaitingFile) -> None:
    """Record and publish a result for a waiting file."""
    claim = ledger.claim(Batch((item,)), owner="me", now=NOW)
    assert claim is not None
    assert put_result(ledger, claim, names=("a.txt",))
    assert publish(ledger, claim)


def finished_run(**changes: object) -> Run:
    run = Run(
        requested=REQUESTED,
        placement=PLACEMENT,
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=10),
        status=RunStatus.DONE,
        stages=StageSeconds(load_s=1.0, generate_s=2.0),
        audio_s=100.0,
        wall_s=10.0,
        files_ok=1,
        files_failed=0,
        tokens=42,
        peak_rss_bytes=2**40,
        peak_gpu_bytes=0,
        fallbacks=(Fallback("device", "cuda", "cpu", "no GPU here"),),
        host="here",
        versions={"torch": "2.13.0"},
    )
    return replace(run, **changes)


@pytest.mark.database("columns have a range, objects have none")
@pytest.mark.parametrize("modified_ns", [253_370_764_800_000_000_000, -(2**70), 2**63])
def test_extreme_time_stamps_are_stored_exactly(ledger: Ledger, modified_ns: int) -> None:
    file = recording()
    file = replace(file, signature=replace(file.signature, modified_ns=modified_ns))
    (found,) = make_ready(ledger, file)
    assert found.file == file
    assert ledger.known_files(INBOX)[file.path].signature == file.signature


@pytest.mark.database("columns have an encoding, objects have none")
def test_unusual_paths_are_stored_byte_for_byte(ledger: Ledger) -> None:
    names = ["caf\udce9.wav", "two\nlines.wav", "ω 日本.wav", "quote'\".wav", "tab\t.wav"]
    files = [recording(name) for name in names]
    make_ready(ledger, *files)
    assert {item.file.path for item in waiting(ledger)} == {file.path for file in files}
    assert set(ledger.known_files(INBOX)) == {file.path for file in files}


def test_partial_transcripts_are_kept_until_there_is_a_result(ledger: Ledger) -> None:
    first = PartialTranscript(
        16_000, (Segment(0.0, 1.0, " a", words=(Word(0.0, 0.5, " a", 0.9),)),), "en", 3
    )
    assert ledger.find_partial_transcript("s1", "f1") is None
    ledger.save_partial_transcript("s1", "f1", first, now=NOW)
    assert ledger.find_partial_transcript("s1", "f1") == first
    more = replace(first, n_samples=32_000)
    ledger.save_partial_transcript("s1", "f1", more, now=NOW)
    assert ledger.find_partial_transcript("s1", "f1") == more
    assert ledger.find_partial_transcript("s1", "f2") is None
    for other_fingerprint in ("f1/left", "f1/channel 3", "f10", "f10/left"):
        ledger.save_partial_transcript("s1", other_fingerprint, first, now=NOW)

    put_result(ledger, make_claim(ledger, recording()))

    assert ledger.find_partial_transcript("s1", "f1") is None
    assert ledger.find_partial_transcript("s1", "f1/left") is None  # a part of f1
    assert ledger.find_partial_transcript("s1", "f1/channel 3") is None
    assert (
        ledger.find_partial_transcript("s1", "f10")
        == ledger.find_partial_transcript("s1", "f10/left")
        == first
    )
