"""One batch from claim to run row."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from tests.application.conftest import Harness
from tests.fakes import FakeEngine
from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.inbox import FileStatus
from thoth_watch.domain.batching import BatchPolicy
from thoth_watch.domain.errors import (
    DecoderCrashed,
    FileChanged,
    FileGone,
    FileUnreadable,
    NotAudio,
    RetryLater,
)
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.states import State


def disk(harness: Harness) -> dict[str, str]:
    return {path.name: content.decode() for path, content in harness.publisher.disk.items()}


def drop(harness: Harness, *names: str) -> None:
    for name in names:
        harness.inbox.put(name)
    harness.settle()


def test_every_file_gets_its_transcript_and_the_run_its_row(harness: Harness):
    drop(harness, "a.wav", "b.mp3")
    harness.run_once()

    assert disk(harness) == {"a.txt": "a.wav", "b.txt": "b.mp3"}
    assert set(harness.states().values()) == {State.DONE}
    (run,) = harness.runs()
    assert (run["status"], run["files_ok"], run["files_failed"]) == ("DONE", 2, 0)
    assert (run["device"], run["precision"], run["engine_asked"]) == (
        "cpu",
        "float32",
        "accelerated",
    )
    assert (run["audio_s"], run["tokens"], run["load_s"]) == (20.0, 6, 1.5)
    assert harness.progress.audio_s == 20.0


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (NotAudio("text, not audio"), State.RETRY),
        (FileChanged("grew while it was read"), State.SEEN),
        (DecoderCrashed("killed the worker"), State.RETRY),
        (FileUnreadable("permission denied"), State.RETRY),
        (FileGone("removed"), State.GONE),
        (RetryLater("no space for samples"), State.RETRY),
    ],
)
def test_a_bad_file_does_not_fail_its_batch(harness: Harness, error: Exception, state: State):
    harness.decoder.bad["bad.wav"] = error
    drop(harness, "a.wav", "bad.wav", "c.wav")
    harness.run_once()

    assert harness.states() == {"a.wav": State.DONE, "bad.wav": state, "c.wav": State.DONE}
    assert str(error) in harness.rows()["bad.wav"]["reason"]


def test_bad_content_fails_at_the_second_attempt(harness: Harness):
    harness.decoder.bad["bad.wav"] = NotAudio("text, not audio")
    drop(harness, "bad.wav")
    harness.run_once()
    harness.clock.advance(61)
    harness.ledger.requeue_due_retries(now=harness.clock.now())
    harness.run_once()

    assert harness.states() == {"bad.wav": State.FAILED}
    assert harness.rows()["bad.wav"]["attempts"] == 2


def test_a_file_that_crashes_the_decoder_is_isolated_then_quarantined(harness: Harness):
    harness.decoder.bad["bomb.wav"] = DecoderCrashed("signal 11")
    drop(harness, "a.wav", "bomb.wav")
    harness.run_once()
    harness.ledger.requeue_due_retries(now=harness.clock.now())
    (waiting,) = harness.ledger.waiting(harness.resolve_file_options)
    assert waiting.is_isolated
    harness.run_once()

    assert harness.states()["bomb.wav"] is State.QUARANTINED


def test_environment_errors_do_not_count_as_attempts(harness: Harness):
    harness.decoder.bad["a.wav"] = FileUnreadable("permission denied")
    drop(harness, "a.wav")
    waits = []
    for _ in range(4):
        before = harness.clock.now()
        harness.run_once()
        waits.append((harness.ledger.next_retry_at() - before).total_seconds())
        harness.clock.advance(400)
        harness.ledger.requeue_due_retries(now=harness.clock.now())
    harness.decoder.bad.clear()
    harness.run_once()

    assert waits == [10.0, 20.0, 40.0, 80.0]
    assert harness.states() == {"a.wav": State.DONE}
    assert harness.rows()["a.wav"]["attempts"] == 1


def test_an_engine_error_affects_only_its_recording(harness: Harness):
    harness.engines.fake.failing.add("b.wav")
    drop(harness, "a.wav", "b.wav")
    harness.run_once()

    assert harness.states() == {"a.wav": State.DONE, "b.wav": State.RETRY}
    assert "the engine failed on it" in harness.rows()["b.wav"]["reason"]
    assert harness.runs()[0]["status"] == "PARTIAL"


def test_a_repeated_recording_is_written_without_being_transcribed_again(harness: Harness):
    drop(harness, "a.wav")
    harness.run_once()
    harness.decoder.same_audio["copy.wav"] = "a.wav"
    drop(harness, "copy.wav")
    harness.run_once()

    assert harness.engines.fake.transcribed == ["a.wav"]
    assert disk(harness) == {"a.txt": "a.wav", "copy.txt": "a.wav"}
    assert harness.states()["copy.wav"] is State.DONE


def test_audio_that_occurs_twice_in_a_batch_is_transcribed_once(harness: Harness):
    harness.decoder.duration_s = 1.0  # so that they are decoded in groups
    harness.transcribe = harness.new_transcribe(writes_synchronously=True)
    names = [f"{letter}.wav" for letter in "abcdefgh"]
    harness.decoder.same_audio |= {"c.wav": "b.wav", "g.wav": "b.wav"}
    drop(harness, *names)
    harness.run_once()

    assert harness.engines.fake.transcribed == [
        "a.wav",
        "b.wav",
        "d.wav",
        "e.wav",
        "f.wav",
        "h.wav",
    ]
    assert disk(harness)["c.txt"] == disk(harness)["g.txt"] == "b.wav"
    assert set(harness.states().values()) == {State.DONE}


def test_a_decoded_duplicate_reuses_a_result_that_was_finished_meanwhile(harness: Harness):
    class TwoAtATime(FakeEngine):
        def transcribe(self, recordings, **options):
            stream = iter(recordings)
            while pair := list(islice(stream, 2)):
                yield from super().transcribe(pair, **options)

    harness.decoder.duration_s = 1.0
    harness.engines.fake = TwoAtATime()
    harness.transcribe = harness.new_transcribe(writes_synchronously=True)
    harness.decoder.same_audio["c.wav"] = (
        "a.wav"  # looked up with b.wav, before a.wav was transcribed
    )
    drop(harness, "a.wav", "b.wav", "c.wav", "d.wav")
    harness.run_once()

    assert harness.engines.fake.transcribed == ["a.wav", "b.wav", "d.wav"]
    assert disk(harness)["c.txt"] == "a.wav"


def test_recordings_decoded_together_are_looked_up_together(harness: Harness, monkeypatch):
    harness.decoder.duration_s = 1.0
    requested: list[int] = []
    find_existing_results = harness.ledger.find_existing_results
    monkeypatch.setattr(
        harness.ledger,
        "find_existing_results",
        lambda keys: requested.append(len(keys)) or find_existing_results(keys),
    )
    monkeypatch.setattr(
        harness.ledger, "find_result", lambda *_: pytest.fail("looked up one by one")
    )
    drop(harness, *(f"{number}.wav" for number in range(9)))
    harness.run_once()

    assert requested == [1, 8]
    assert set(harness.states().values()) == {State.DONE}


def test_decoded_recordings_that_were_not_reached_are_closed(harness: Harness, monkeypatch):
    harness.decoder.duration_s = 1.0
    decode, closed = harness.decoder.decode, []

    def watched(file, *, key=0):
        name = file.path.name
        return replace(decode(file, key=key), close=lambda: closed.append(name))

    monkeypatch.setattr(harness.decoder, "decode", watched)
    drop(harness, *(f"{number}.wav" for number in range(9)))
    harness.run_once(should_stop=lambda: len(harness.engines.fake.transcribed) >= 3)

    assert sorted(closed) == sorted(harness.decoder.decoded)
    assert list(harness.states().values()).count(State.READY) == 6


def test_a_result_in_another_language_is_not_reused(harness: Harness):
    drop(harness, "a.wav")
    harness.run_once()
    harness.decoder.same_audio["copy.wav"] = "a.wav"
    harness.file_options = type(harness.file_options)(language="fr", formats=("txt",))
    drop(harness, "copy.wav")
    harness.run_once()

    assert harness.engines.fake.transcribed == ["a.wav", "a.wav"]


def test_two_recordings_with_one_stem_both_get_a_transcript(harness: Harness):
    drop(harness, "a.wav", "a.mp3")
    harness.run_once()

    assert sorted(disk(harness)) in (["a.mp3.txt", "a.txt"], ["a.txt", "a.wav.txt"])
    assert set(harness.states().values()) == {State.DONE}


def test_the_name_contains_the_detected_language_if_configured(harness: Harness):
    harness.file_options = FileOptions(formats=("srt",), name="{stem}.{language}.{format}")
    drop(harness, "a.wav", "a.mp3")
    harness.run_once()

    assert sorted(disk(harness)) in (
        ["a.en.srt", "a.mp3.en.srt"],
        ["a.en.srt", "a.wav.en.srt"],
    )


def test_a_name_taken_during_publishing_affects_only_that_format(
    harness: Harness,
):
    harness.file_options = FileOptions(formats=("txt", "json"))
    harness.publisher.taken_late.add(harness.inbox.root / "a.json")
    harness.inbox.put("a.wav")
    harness.settle()
    harness.run_once()

    alternate = next(path for path in harness.publisher.disk if path.suffix == ".json")
    assert set(harness.publisher.disk) == {harness.inbox.root / "a.txt", alternate}
    assert harness.rows()["a.wav"]["state"] == State.CONFLICT
    for path in harness.publisher.disk:
        assert harness.ledger.owners_of([path])[path][1] is not None


def test_a_foreign_file_is_kept_and_the_transcript_gets_another_name(harness: Harness):
    harness.publisher.foreign[harness.inbox.root / "a.txt"] = b"mine"
    drop(harness, "a.wav")
    harness.run_once()

    (name,) = disk(harness)
    assert name.startswith("a.thoth-")
    assert harness.states() == {"a.wav": State.CONFLICT}
    assert "a.txt was not written by thoth-watch" in harness.rows()["a.wav"]["reason"]


def test_nothing_is_published_for_a_file_that_changed_or_was_removed(harness: Harness):
    drop(harness, "a.wav", "b.wav")
    harness.files.statuses[harness.inbox.root / "a.wav"] = FileStatus.CHANGED
    harness.files.statuses[harness.inbox.root / "b.wav"] = FileStatus.GONE
    harness.run_once()

    assert disk(harness) == {}
    assert harness.states() == {"a.wav": State.SEEN, "b.wav": State.GONE}


def test_a_full_disk_keeps_the_result_and_writes_it_when_there_is_space(harness: Harness):
    harness.publisher.error = RetryLater("no space left on device")
    drop(harness, "a.wav")
    harness.run_once()
    assert harness.states() == {"a.wav": State.RETRY}
    assert "no space left" in harness.rows()["a.wav"]["reason"]

    harness.publisher.error = None
    harness.clock.advance(11)
    harness.ledger.requeue_due_retries(now=harness.clock.now())
    harness.run_once()

    assert harness.states() == {"a.wav": State.DONE}
    assert harness.engines.fake.transcribed == ["a.wav"]


def transcribe_slowly(harness: Harness) -> None:
    """Make each transcription take ten seconds."""
    transcribed = harness.engines.fake.transcribe_one

    def transcribe_one(recording: Recording) -> str:
        harness.clock.advance(10.0)
        return transcribed(recording)

    harness.engines.fake.transcribe_one = transcribe_one  # type: ignore[method-assign]


@pytest.mark.parametrize("cause", ["time limit", "quiet hours"])
def test_a_batch_that_may_start_no_further_file_releases_the_rest(harness: Harness, cause: str):
    if cause == "time limit":
        harness.policy = BatchPolicy(max_batch_s=15.0)
    else:
        hours = harness.clock.now() + timedelta(seconds=15)
        harness.quiet_until = lambda now: now if now >= hours else None
    transcribe_slowly(harness)
    drop(harness, "a.wav", "b.wav", "c.wav")
    harness.run_once()

    assert sorted(harness.states().values()) == [State.DONE, State.DONE, State.READY]
    assert harness.runs()[-1]["status"] == "DONE"
    harness.quiet_until = lambda _: None
    harness.run_once()
    assert set(harness.states().values()) == {State.DONE}
    assert {row["attempts"] for row in harness.rows().values()} == {1}


def test_each_batch_transcribes_at_least_one_file_despite_its_time_limit(harness: Harness):
    harness.policy = BatchPolicy(max_batch_s=1e-9)
    transcribe_slowly(harness)
    drop(harness, "a.wav", "b.wav")
    harness.run_once()
    harness.run_once()

    assert set(harness.states().values()) == {State.DONE}


def test_a_stopped_batch_releases_the_files_that_it_did_not_reach(harness: Harness):
    drop(harness, "a.wav", "b.wav", "c.wav")
    harness.run_once(should_stop=lambda: len(harness.engines.fake.transcribed) >= 1)

    states = sorted(harness.states().values())
    assert states == [State.DONE, State.READY, State.READY]
    assert harness.runs()[0]["status"] == "INTERRUPTED"
    assert {row["attempts"] for row in harness.rows().values()} == {0, 1}


def test_a_missing_model_is_recorded_and_the_file_is_retried(harness: Harness):
    harness.engines.missing.add("builtin")
    drop(harness, "a.wav")
    harness.run_once()

    assert harness.states() == {"a.wav": State.RETRY}
    assert "no such model" in harness.rows()["a.wav"]["reason"]
    assert harness.runs()[0]["status"] == "FAILED"
    assert "no such model" in harness.runs()[0]["error"]


def test_a_truncated_recording_waits_and_is_accepted_after_an_hour(harness: Harness):
    harness.decoder.warnings["a.wav"] = ("truncated: 3.0 of 10.0 s",)
    modified_ns = int(harness.clock.now().timestamp() * 1e9)
    harness.inbox.put("a.wav", modified_ns=modified_ns)
    harness.settle()
    harness.run_once()
    assert harness.states() == {"a.wav": State.RETRY}

    harness.clock.advance(3600)
    harness.ledger.requeue_due_retries(now=harness.clock.now())
    harness.run_once()

    assert harness.states() == {"a.wav": State.DONE}


def test_a_result_that_a_killed_process_left_is_published_without_the_engine(harness: Harness):
    drop(harness, "a.wav")
    recorded = harness.ledger.record_published
    harness.ledger.record_published = lambda *_, **__: None  # type: ignore[method-assign]  # killed
    harness.run_once()
    harness.ledger.record_published = recorded  # type: ignore[method-assign]
    assert harness.states() == {"a.wav": State.RESULT}

    (result,) = harness.ledger.unpublished(harness.resolve_file_options)
    harness.publish.publish_stored(result)

    assert harness.states() == {"a.wav": State.DONE}
    assert harness.engines.fake.transcribed == ["a.wav"]
    assert disk(harness) == {"a.txt": "a.wav"}


def test_a_stored_result_is_published_in_the_formats_whose_names_were_reserved(harness: Harness):
    drop(harness, "a.wav")
    recorded = harness.ledger.record_published
    harness.ledger.record_published = lambda *_, **__: None  # type: ignore[method-assign]  # killed
    harness.run_once()
    harness.ledger.record_published = recorded  # type: ignore[method-assign]
    harness.file_options = replace(harness.file_options, formats=("srt", "json"))

    (result,) = harness.ledger.unpublished(harness.resolve_file_options)
    harness.publish.publish_stored(result)

    assert harness.states() == {"a.wav": State.DONE}
    assert disk(harness) == {"a.txt": "a.wav"}


def test_an_output_folder_mirrors_the_inbox(harness: Harness):
    harness.file_options = type(harness.file_options)(formats=("txt",), output_dir="/out")
    drop(harness, "deep/a.wav")
    harness.run_once()

    assert list(harness.publisher.disk) == [Path("/out/deep/a.txt")]
