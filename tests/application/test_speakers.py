"""Recordings are diarized if their options request it, and the model is recorded."""

from __future__ import annotations

import pytest

from tests.application.conftest import Harness
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.states import State

DIARIZED = FileOptions(formats=("txt",), diarize=True)


@pytest.fixture
def harness_with_talk(harness: Harness) -> Harness:
    harness.file_options = DIARIZED
    harness.inbox.put("talk.wav")
    harness.settle()
    return harness


def speakers_of(harness: Harness, name: str) -> list[str | None]:
    """Return the speaker of each segment of a stored transcript."""
    row = harness.rows()[name]
    stored = harness.ledger.find_result(row["sha256"], row["fingerprint"])
    assert stored is not None
    return [segment.speaker for segment in stored.transcript.segments]


def test_segments_are_labeled_with_their_speakers(harness_with_talk: Harness) -> None:
    harness_with_talk.run_once()

    assert speakers_of(harness_with_talk, "talk.wav") == ["SPEAKER_00"]


def test_transcript_and_run_row_name_the_diarization_model(harness_with_talk: Harness) -> None:
    harness_with_talk.run_once()

    assert harness_with_talk.provenance_of("talk.wav")["diarization"] == "fake/pipeline@1"
    (run,) = harness_with_talk.runs()
    assert run["versions"] == {"fake": "1", "diarization": "fake/pipeline@1"}


def test_recordings_are_not_diarized_unless_their_options_request_it(harness: Harness) -> None:
    harness.inbox.put("talk.wav")
    harness.settle()

    harness.run_once()

    assert harness.speakers.requested == []
    assert speakers_of(harness, "talk.wav") == [None]
    assert "diarization" not in harness.provenance_of("talk.wav")
    (run,) = harness.runs()
    assert run["versions"] == {"fake": "1"}


def test_a_failed_diarization_affects_only_its_recording(harness_with_talk: Harness) -> None:
    harness = harness_with_talk
    harness.inbox.put("row.wav")
    harness.speakers.unclear = {"row.wav"}
    harness.settle()

    harness.run_once()

    assert harness.states() == {"talk.wav": State.DONE, "row.wav": State.RETRY}
    assert "overlapping speech" in harness.rows()["row.wav"]["reason"]


def test_a_failing_diarization_is_not_retried_forever(harness_with_talk: Harness) -> None:
    harness = harness_with_talk
    harness.speakers.unclear = {"talk.wav"}

    for _ in range(10):
        harness.serve()
        harness.clock.advance(3600)

    assert harness.states() == {"talk.wav": State.FAILED}


def test_a_transcript_without_speakers_is_not_reused_for_one_with_speakers(
    harness: Harness,
) -> None:
    harness.inbox.put("talk.wav")
    harness.settle()
    harness.run_once()
    harness.file_options = DIARIZED
    harness.decoder.same_audio["again.wav"] = "talk.wav"
    harness.inbox.put("again.wav")
    harness.settle()

    harness.run_once()

    assert speakers_of(harness, "again.wav") == ["SPEAKER_00"]


def test_recordings_without_speech_are_not_diarized(harness_with_talk: Harness) -> None:
    harness_with_talk.voice.silent = {"talk.wav"}

    harness_with_talk.run_once()

    assert harness_with_talk.speakers.requested == []
    assert harness_with_talk.states() == {"talk.wav": State.DONE}


def test_split_channels_are_not_diarized(harness: Harness) -> None:
    harness.file_options = FileOptions(formats=("txt",), diarize=True, channels="split")
    harness.decoder.channels["call.wav"] = ("left", "right")
    harness.inbox.put("call.wav")
    harness.inbox.put("memo.wav")  # has one channel only
    harness.settle()

    harness.run_once()

    assert harness.speakers.requested == ["memo.wav"]
    assert set(harness.states().values()) == {State.DONE}
