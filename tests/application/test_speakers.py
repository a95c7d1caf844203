"""Speakers are told apart where a recording's treatment asks for it, and what did it is written down."""

from __future__ import annotations

import pytest

from tests.application.conftest import House
from thoth_watch.domain.states import State
from thoth_watch.domain.treatment import Treatment

NAMED = Treatment(formats=("txt",), diarize=True)


@pytest.fixture
def house_of_talk(house: House) -> House:
    house.treatment = NAMED
    house.inbox.put("talk.wav")
    house.settle()
    return house


def speakers_of(house: House, name: str) -> list[str | None]:
    """The stored transcript's, segment by segment."""
    row = house.rows()[name]
    stored = house.ledger.find_result(row["sha256"], row["fingerprint"])
    assert stored is not None
    return [segment.speaker for segment in stored.transcript.segments]


def test_segments_get_the_names_of_their_speakers(house_of_talk: House) -> None:
    house_of_talk.run_once()

    assert speakers_of(house_of_talk, "talk.wav") == ["SPEAKER_00"]


def test_what_told_them_apart_stands_in_transcript_and_run_row(house_of_talk: House) -> None:
    house_of_talk.run_once()

    assert house_of_talk.provenance_of("talk.wav")["diarization"] == "fake/pipeline@1"
    (run,) = house_of_talk.runs()
    assert run["versions"] == {"fake": "1", "diarization": "fake/pipeline@1"}


def test_nobody_is_asked_who_speaks_unless_the_treatment_says_so(house: House) -> None:
    house.inbox.put("talk.wav")
    house.settle()

    house.run_once()

    assert house.speakers.asked == []
    assert speakers_of(house, "talk.wav") == [None]
    assert "diarization" not in house.provenance_of("talk.wav")
    (run,) = house.runs()
    assert run["versions"] == {"fake": "1"}


def test_one_recording_whose_speakers_are_unclear_fails_alone(house_of_talk: House) -> None:
    house = house_of_talk
    house.inbox.put("row.wav")
    house.speakers.unclear = {"row.wav"}
    house.settle()

    house.run_once()

    assert house.states() == {"talk.wav": State.DONE, "row.wav": State.RETRY}
    assert "all talk at once" in house.rows()["row.wav"]["reason"]


def test_it_is_not_tried_for_ever(house_of_talk: House) -> None:
    house = house_of_talk
    house.speakers.unclear = {"talk.wav"}

    for _ in range(10):
        house.serve()
        house.clock.advance(3600)

    assert house.states() == {"talk.wav": State.FAILED}


def test_a_transcript_without_names_is_not_taken_for_one_with_them(house: House) -> None:
    house.inbox.put("talk.wav")
    house.settle()
    house.run_once()
    house.treatment = NAMED
    house.decoder.same_sound["again.wav"] = "talk.wav"
    house.inbox.put("again.wav")
    house.settle()

    house.run_once()

    assert speakers_of(house, "again.wav") == ["SPEAKER_00"]


def test_silence_has_no_speakers_and_is_not_searched_for_them(house_of_talk: House) -> None:
    house_of_talk.voice.silent = {"talk.wav"}

    house_of_talk.run_once()

    assert house_of_talk.speakers.asked == []
    assert house_of_talk.states() == {"talk.wav": State.DONE}


def test_where_channels_are_apart_they_are_the_speakers(house: House) -> None:
    house.treatment = Treatment(formats=("txt",), diarize=True, channels="split")
    house.decoder.channels["call.wav"] = ("left", "right")
    house.inbox.put("call.wav")
    house.inbox.put("memo.wav")  # has one channel only
    house.settle()

    house.run_once()

    assert house.speakers.asked == ["memo.wav"]
    assert set(house.states().values()) == {State.DONE}
