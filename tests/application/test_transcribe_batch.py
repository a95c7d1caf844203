"""One batch, from claim to run row."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from tests.application.conftest import House
from tests.fakes import FakeEngine
from thoth_watch.application.ports import Recording, Whereabouts
from thoth_watch.domain.batching import BatchPolicy
from thoth_watch.domain.errors import (
    DecoderCrashed,
    FileChanged,
    FileGone,
    FileUnreadable,
    NotAudio,
    TryLater,
)
from thoth_watch.domain.states import State
from thoth_watch.domain.treatment import Treatment


def disk(house: House) -> dict[str, str]:
    return {path.name: content.decode() for path, content in house.publisher.disk.items()}


def drop(house: House, *names: str) -> None:
    for name in names:
        house.inbox.put(name)
    house.settle()


def test_every_file_gets_its_transcript_and_the_run_its_row(house: House):
    drop(house, "a.wav", "b.mp3")
    house.run_once()

    assert disk(house) == {"a.txt": "a.wav", "b.txt": "b.mp3"}
    assert set(house.states().values()) == {State.DONE}
    (run,) = house.runs()
    assert (run["status"], run["files_ok"], run["files_failed"]) == ("DONE", 2, 0)
    assert (run["device"], run["precision"], run["engine_asked"]) == (
        "cpu",
        "float32",
        "accelerated",
    )
    assert (run["audio_s"], run["tokens"], run["load_s"]) == (20.0, 6, 1.5)
    assert house.progress.audio_s == 20.0


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (NotAudio("text, not sound"), State.RETRY),
        (FileChanged("grew while it was read"), State.SEEN),
        (DecoderCrashed("killed the worker"), State.RETRY),
        (FileUnreadable("permission denied"), State.RETRY),
        (FileGone("removed"), State.GONE),
        (TryLater("no room for samples"), State.RETRY),
    ],
)
def test_one_bad_file_does_not_sink_its_batch(house: House, error: Exception, state: State):
    house.decoder.bad["bad.wav"] = error
    drop(house, "a.wav", "bad.wav", "c.wav")
    house.run_once()

    assert house.states() == {"a.wav": State.DONE, "bad.wav": state, "c.wav": State.DONE}
    assert str(error) in house.rows()["bad.wav"]["reason"]


def test_bad_content_fails_when_it_is_confirmed(house: House):
    house.decoder.bad["bad.wav"] = NotAudio("text, not sound")
    drop(house, "bad.wav")
    house.run_once()
    house.clock.advance(61)
    house.ledger.wake_retries(now=house.clock.now())
    house.run_once()

    assert house.states() == {"bad.wav": State.FAILED}
    assert house.rows()["bad.wav"]["attempts"] == 2


def test_a_file_that_kills_the_decoder_twice_is_quarantined_and_goes_alone(house: House):
    house.decoder.bad["bomb.wav"] = DecoderCrashed("signal 11")
    drop(house, "a.wav", "bomb.wav")
    house.run_once()
    house.ledger.wake_retries(now=house.clock.now())
    (waiting,) = house.ledger.waiting(house.treatment_of)
    assert waiting.travels_alone
    house.run_once()

    assert house.states()["bomb.wav"] is State.QUARANTINED


def test_the_surroundings_do_not_count_against_a_file(house: House):
    house.decoder.bad["a.wav"] = FileUnreadable("permission denied")
    drop(house, "a.wav")
    waits = []
    for _ in range(4):
        before = house.clock.now()
        house.run_once()
        waits.append((house.ledger.next_retry_at() - before).total_seconds())
        house.clock.advance(400)
        house.ledger.wake_retries(now=house.clock.now())
    house.decoder.bad.clear()
    house.run_once()

    assert waits == [10.0, 20.0, 40.0, 80.0]
    assert house.states() == {"a.wav": State.DONE}
    assert house.rows()["a.wav"]["attempts"] == 1


def test_what_the_engine_cannot_hear_leaves_the_others_unharmed(house: House):
    house.engines.fake.deaf.add("b.wav")
    drop(house, "a.wav", "b.wav")
    house.run_once()

    assert house.states() == {"a.wav": State.DONE, "b.wav": State.RETRY}
    assert "deaf" in house.rows()["b.wav"]["reason"]
    assert house.runs()[0]["status"] == "PARTIAL"


def test_a_repeated_recording_is_written_without_being_transcribed_again(house: House):
    drop(house, "a.wav")
    house.run_once()
    house.decoder.same_sound["copy.wav"] = "a.wav"
    drop(house, "copy.wav")
    house.run_once()

    assert house.engines.fake.heard == ["a.wav"]
    assert disk(house) == {"a.txt": "a.wav", "copy.txt": "a.wav"}
    assert house.states()["copy.wav"] is State.DONE


def test_a_sound_that_is_twice_in_a_batch_is_transcribed_once(house: House):
    house.decoder.duration_s = 1.0  # they are decoded together
    house.transcribe = house.new_transcribe(writes_at_once=True)
    names = [f"{letter}.wav" for letter in "abcdefgh"]
    house.decoder.same_sound |= {"c.wav": "b.wav", "g.wav": "b.wav"}
    drop(house, *names)
    house.run_once()

    assert house.engines.fake.heard == ["a.wav", "b.wav", "d.wav", "e.wav", "f.wav", "h.wav"]
    assert disk(house)["c.txt"] == disk(house)["g.txt"] == "b.wav"
    assert set(house.states().values()) == {State.DONE}


def test_a_sound_that_ends_while_its_twin_waits_decoded_is_transcribed_once(house: House):
    class TwoAtATime(FakeEngine):
        def transcribe(self, recordings, **named):
            stream = iter(recordings)
            while pair := list(islice(stream, 2)):
                yield from super().transcribe(pair, **named)

    house.decoder.duration_s = 1.0
    house.engines.fake = TwoAtATime()
    house.transcribe = house.new_transcribe(writes_at_once=True)
    house.decoder.same_sound["c.wav"] = "a.wav"  # looked up with b.wav, before a.wav was heard
    drop(house, "a.wav", "b.wav", "c.wav", "d.wav")
    house.run_once()

    assert house.engines.fake.heard == ["a.wav", "b.wav", "d.wav"]
    assert disk(house)["c.txt"] == "a.wav"


def test_sounds_decoded_together_are_looked_up_together(house: House, monkeypatch):
    house.decoder.duration_s = 1.0
    asked: list[int] = []
    have_results = house.ledger.have_results
    monkeypatch.setattr(
        house.ledger, "have_results", lambda keys: asked.append(len(keys)) or have_results(keys)
    )
    monkeypatch.setattr(house.ledger, "find_result", lambda *_: pytest.fail("asked one by one"))
    drop(house, *(f"{number}.wav" for number in range(9)))
    house.run_once()

    assert asked == [1, 8]
    assert set(house.states().values()) == {State.DONE}


def test_what_was_decoded_and_not_reached_is_closed(house: House, monkeypatch):
    house.decoder.duration_s = 1.0
    decode, closed = house.decoder.decode, []

    def watched(file, *, key=0):
        name = file.path.name
        return replace(decode(file, key=key), close=lambda: closed.append(name))

    monkeypatch.setattr(house.decoder, "decode", watched)
    drop(house, *(f"{number}.wav" for number in range(9)))
    house.run_once(should_stop=lambda: len(house.engines.fake.heard) >= 3)

    assert sorted(closed) == sorted(house.decoder.decoded)
    assert list(house.states().values()).count(State.READY) == 6


def test_another_language_is_not_a_repetition(house: House):
    drop(house, "a.wav")
    house.run_once()
    house.decoder.same_sound["copy.wav"] = "a.wav"
    house.treatment = type(house.treatment)(language="fr", formats=("txt",))
    drop(house, "copy.wav")
    house.run_once()

    assert house.engines.fake.heard == ["a.wav", "a.wav"]


def test_two_recordings_of_one_stem_both_get_a_transcript(house: House):
    drop(house, "a.wav", "a.mp3")
    house.run_once()

    assert sorted(disk(house)) in (["a.mp3.txt", "a.txt"], ["a.txt", "a.wav.txt"])
    assert set(house.states().values()) == {State.DONE}


def test_the_language_that_was_heard_is_in_the_name_where_that_is_asked(house: House):
    house.treatment = Treatment(formats=("srt",), name="{stem}.{language}.{format}")
    drop(house, "a.wav", "a.mp3")
    house.run_once()

    assert sorted(disk(house)) in (
        ["a.en.srt", "a.mp3.en.srt"],
        ["a.en.srt", "a.wav.en.srt"],
    )


def test_a_name_taken_while_the_first_format_is_written_costs_only_the_second_its_name(
    house: House,
):
    house.treatment = Treatment(formats=("txt", "json"))
    house.publisher.taken_late.add(house.inbox.root / "a.json")
    house.inbox.put("a.wav")
    house.settle()
    house.run_once()

    alternate = next(path for path in house.publisher.disk if path.suffix == ".json")
    assert set(house.publisher.disk) == {house.inbox.root / "a.txt", alternate}
    assert house.rows()["a.wav"]["state"] == State.CONFLICT
    for path in house.publisher.disk:
        assert house.ledger.owner_of(path)[1] is not None


def test_a_foreign_file_is_left_alone_and_the_transcript_gets_another_name(house: House):
    house.publisher.foreign[house.inbox.root / "a.txt"] = b"mine"
    drop(house, "a.wav")
    house.run_once()

    (name,) = disk(house)
    assert name.startswith("a.thoth-")
    assert house.states() == {"a.wav": State.CONFLICT}
    assert "a.txt is not ours" in house.rows()["a.wav"]["reason"]


def test_nothing_is_published_for_a_file_that_changed_or_went_meanwhile(house: House):
    drop(house, "a.wav", "b.wav")
    house.files.moved[house.inbox.root / "a.wav"] = Whereabouts.CHANGED
    house.files.moved[house.inbox.root / "b.wav"] = Whereabouts.GONE
    house.run_once()

    assert disk(house) == {}
    assert house.states() == {"a.wav": State.SEEN, "b.wav": State.GONE}


def test_a_full_disk_keeps_the_result_and_writes_it_when_there_is_room(house: House):
    house.publisher.error = TryLater("no space left on device")
    drop(house, "a.wav")
    house.run_once()
    assert house.states() == {"a.wav": State.RETRY}
    assert "no space left" in house.rows()["a.wav"]["reason"]

    house.publisher.error = None
    house.clock.advance(11)
    house.ledger.wake_retries(now=house.clock.now())
    house.run_once()

    assert house.states() == {"a.wav": State.DONE}
    assert house.engines.fake.heard == ["a.wav"]


def hear_slowly(house: House) -> None:
    """Let each recording take ten seconds."""
    heard = house.engines.fake.hear

    def hear(recording: Recording) -> str:
        house.clock.advance(10.0)
        return heard(recording)

    house.engines.fake.hear = hear  # type: ignore[method-assign]


@pytest.mark.parametrize("how", ["took long enough", "quiet hours began"])
def test_a_batch_that_may_begin_no_other_file_gives_the_rest_back(house: House, how: str):
    if how == "took long enough":
        house.policy = BatchPolicy(max_batch_s=15.0)
    else:
        hours = house.clock.now() + timedelta(seconds=15)
        house.quiet_until = lambda now: now if now >= hours else None
    hear_slowly(house)
    drop(house, "a.wav", "b.wav", "c.wav")
    house.run_once()

    assert sorted(house.states().values()) == [State.DONE, State.DONE, State.READY]
    assert house.runs()[-1]["status"] == "DONE"
    house.quiet_until = lambda _: None
    house.run_once()
    assert set(house.states().values()) == {State.DONE}
    assert {row["attempts"] for row in house.rows().values()} == {1}


def test_a_limit_shorter_than_any_file_still_lets_one_through_each_time(house: House):
    house.policy = BatchPolicy(max_batch_s=1e-9)
    hear_slowly(house)
    drop(house, "a.wav", "b.wav")
    house.run_once()
    house.run_once()

    assert set(house.states().values()) == {State.DONE}


def test_a_stopped_batch_gives_back_what_it_did_not_reach(house: House):
    drop(house, "a.wav", "b.wav", "c.wav")
    house.run_once(should_stop=lambda: len(house.engines.fake.heard) >= 1)

    states = sorted(house.states().values())
    assert states == [State.DONE, State.READY, State.READY]
    assert house.runs()[0]["status"] == "INTERRUPTED"
    assert {row["attempts"] for row in house.rows().values()} == {0, 1}


def test_a_missing_model_is_said_in_ledger_and_rows_and_nothing_is_lost(house: House):
    house.engines.missing.add("builtin")
    drop(house, "a.wav")
    house.run_once()

    assert house.states() == {"a.wav": State.RETRY}
    assert "no such model" in house.rows()["a.wav"]["reason"]
    assert house.runs()[0]["status"] == "FAILED"
    assert "no such model" in house.runs()[0]["error"]


def test_a_recording_cut_short_waits_and_is_believed_after_an_hour(house: House):
    house.decoder.warnings["a.wav"] = ("truncated: 3.0 of 10.0 s",)
    modified_ns = int(house.clock.now().timestamp() * 1e9)
    house.inbox.put("a.wav", modified_ns=modified_ns)
    house.settle()
    house.run_once()
    assert house.states() == {"a.wav": State.RETRY}

    house.clock.advance(3600)
    house.ledger.wake_retries(now=house.clock.now())
    house.run_once()

    assert house.states() == {"a.wav": State.DONE}


def test_a_result_that_a_killed_process_left_is_published_without_the_engine(house: House):
    drop(house, "a.wav")
    recorded = house.ledger.record_all_published
    house.ledger.record_all_published = lambda *_, **__: None  # type: ignore[method-assign]  # killed
    house.run_once()
    house.ledger.record_all_published = recorded  # type: ignore[method-assign]
    assert house.states() == {"a.wav": State.RESULT}

    (left,) = house.ledger.unpublished(house.treatment_of)
    house.publish.again(left)

    assert house.states() == {"a.wav": State.DONE}
    assert house.engines.fake.heard == ["a.wav"]
    assert disk(house) == {"a.txt": "a.wav"}


def test_an_output_folder_mirrors_the_inbox(house: House):
    house.treatment = type(house.treatment)(formats=("txt",), output_dir="/out")
    drop(house, "deep/a.wav")
    house.run_once()

    assert list(house.publisher.disk) == [Path("/out/deep/a.txt")]
