"""Speech is looked for as each recording's rules ask, and what is skipped stands in the run row."""

from __future__ import annotations

import pytest

from tests.application.conftest import House
from thoth_watch.domain.speech import Vad
from thoth_watch.domain.states import State
from thoth_watch.domain.treatment import Treatment


@pytest.mark.parametrize("vad", Vad)
def test_voice_is_listened_for_unless_it_is_off(house: House, vad: Vad) -> None:
    house.treatment = Treatment(formats=("txt",), vad=vad)
    house.inbox.put("talk.wav")
    house.settle()

    house.run_once()

    assert house.voice.asked == ([] if vad is Vad.OFF else [vad])


def test_the_share_of_skipped_audio_stands_in_the_run_row(house: House) -> None:
    house.voice.silent = {"rain.wav"}
    for name in ("talk.wav", "rain.wav", "tune.wav", "tape.wav"):
        house.inbox.put(name)
    house.settle()

    house.run_once()

    assert set(house.states().values()) == {State.DONE}
    (run,) = house.runs()
    assert run["skipped_share"] == 0.25
    provenance = house.provenance_of("rain.wav")
    assert (provenance["speech"], provenance["skipped"]) == (0.0, 10.0)
    provenance = house.provenance_of("talk.wav")
    assert (provenance["speech"], provenance["skipped"]) == (10.0, 0.0)


def test_a_transcript_made_without_looking_is_not_taken_for_one_made_with_it(house: House) -> None:
    house.treatment = Treatment(formats=("txt",), vad="off")
    house.inbox.put("talk.wav")
    house.settle()
    house.run_once()
    house.treatment = Treatment(formats=("txt",), vad="on")
    house.decoder.same_sound["again.wav"] = "talk.wav"
    house.inbox.put("again.wav")
    house.settle()

    house.run_once()

    assert house.engines.fake.heard == ["talk.wav", "talk.wav"]
