"""Speakers are told apart where a recording's treatment asks for it, and what did it is written down."""

from __future__ import annotations

import pytest

from tests.application.conftest import Harness
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.states import State

NAMED = FileOptions(formats=("txt",), diarize=True)


@pytest.fixture
def harness_with_talk(harness: Harness) -> Harness:
    harness.file_options = NAMED
    harness.inbox.put("talk.wav")
    harness.settle()
    return harness


def speakers_of(harness: Harness, name: str) -> list[str | None]:
    """The stored transcript's, segment by segment."""
    row = harness.rows()[name]
    stored = harness.ledger.find_result(row["sha256"], row["fingerprint"])
    assert stored is not None
    return [segment.speaker for segment in stored.transcript.segments]


def test_segments_get_the_names_of_their_speakers(harness_with_talk: Harness) -> None:
    harness_with_talk.run_once()

    assert speakers_of(harness_with_talk, "talk.wav") == ["SPEAKER_00"]


def test_what_told_them_apart_stands_in_transcript_and_run_row(harness_with_talk: Harness) -> None:
    harness_with_talk.run_once()

    assert harness_with_talk.provenance_of("talk.wav")["diarization"] == "fake/pipeline@1"
    (run,) = harness_with_talk.runs()
    assert run["versions"] == {"fake": "1", "diarization": "fake/pipeline@1"}


def test_nobody_is_asked_who_speaks_unless_the_treatment_says_so(harness: Harness) -> None:
    harness.inbox.put("talk.wav")
    harness.settle()

    harness.run_once()

    assert harness.speakers.requested == []
    assert speakers_of(harness, "talk.wav") == [None]
    assert "diarization" not in harness.provenance_of("talk.wav")
    (run,) = harness.runs()
    assert run["versions"] == {"fake": "1"}


def test_one_recording_whose_speakers_are_unclear_fails_alone(harness_with_talk: Harness) -> None:
    harness = harness_with_talk
    harness.inbox.put("row.wav")
    harness.speakers.unclear = {"row.wav"}
    harness.settle()

    harness.run_once()

    assert harness.states() == {"talk.wav": State.DONE, "row.wav": State.RETRY}
    assert "all talk at once" in harness.rows()["row.wav"]["reason"]


def test_it_is_not_tried_for_ever(harness_with_talk: Harness) -> None:
    harness = harness_with_talk
    harness.speakers.unclear = {"talk.wav"}

    for _ in range(10):
        harness.serve()
        harness.clock.advance(3600)

    assert harness.states() == {"talk.wav": State.FAILED}


def test_a_transcript_without_names_is_not_taken_for_one_with_them(harness: Harness) -> None:
    harness.inbox.put("talk.wav")
    harness.settle()
    harness.run_once()
    harness.file_options = NAMED
    harness.decoder.same_audio["again.wav"] = "talk.wav"
    harness.inbox.put("again.wav")
    harness.settle()

    harness.run_once()

    assert speakers_of(harness, "again.wav") == ["SPEAKER_00"]


def test_silence_has_no_speakers_and_is_not_searched_for_them(harness_with_talk: Harness) -> None:
    harness_with_talk.voice.silent = {"talk.wav"}

    harness_with_talk.run_once()

    assert harness_with_talk.speakers.requested == []
    assert harness_with_talk.states() == {"talk.wav": State.DONE}


def test_where_channels_are_apart_they_are_the_speakers(harness: Harness) -> None:
    harness.file_options = FileOptions(formats=("txt",), diarize=True, channels="split")
    harness.decoder.channels["call.wav"] = ("left", "right")
    harness.inbox.put("call.wav")
    harness.inbox.put("memo.wav")  # has one channel only
    harness.settle()

    harness.run_once()

    assert harness.speakers.requested == ["memo.wav"]
    assert set(harness.states().values()) == {State.DONE}
