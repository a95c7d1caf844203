"""Speech detection follows each recording's options; skipped audio is recorded in the run row."""

from __future__ import annotations

import pytest

from tests.application.conftest import Harness
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.speech import Vad
from thoth_watch.domain.states import State


@pytest.mark.parametrize("vad", Vad)
def test_speech_is_detected_unless_vad_is_off(harness: Harness, vad: Vad) -> None:
    harness.file_options = FileOptions(formats=("txt",), vad=vad)
    harness.inbox.put("talk.wav")
    harness.settle()

    harness.run_once()

    assert harness.voice.requested == ([] if vad is Vad.OFF else [vad])


def test_the_run_row_contains_the_share_of_skipped_audio(harness: Harness) -> None:
    harness.voice.silent = {"rain.wav"}
    for name in ("talk.wav", "rain.wav", "tune.wav", "tape.wav"):
        harness.inbox.put(name)
    harness.settle()

    harness.run_once()

    assert set(harness.states().values()) == {State.DONE}
    (run,) = harness.runs()
    assert run["skipped_share"] == 0.25
    provenance = harness.provenance_of("rain.wav")
    assert (provenance["speech"], provenance["skipped"]) == (0.0, 10.0)
    provenance = harness.provenance_of("talk.wav")
    assert (provenance["speech"], provenance["skipped"]) == (10.0, 0.0)


def test_a_transcript_without_vad_is_not_reused_for_a_file_with_vad(
    harness: Harness,
) -> None:
    harness.file_options = FileOptions(formats=("txt",), vad="off")
    harness.inbox.put("talk.wav")
    harness.settle()
    harness.run_once()
    harness.file_options = FileOptions(formats=("txt",), vad="on")
    harness.decoder.same_audio["again.wav"] = "talk.wav"
    harness.inbox.put("again.wav")
    harness.settle()

    harness.run_once()

    assert harness.engines.fake.transcribed == ["talk.wav", "talk.wav"]
