"""A recording with one speaker per channel becomes one transcript, ordered by time."""

from __future__ import annotations

import pytest

from tests.application.conftest import Harness
from thoth_watch.domain.channels import channel_name, merge_spans, merge_transcripts
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import Segment, Transcript, Verdict


@pytest.fixture
def split(harness: Harness) -> Harness:
    harness.file_options = FileOptions(formats=("txt",), channels="split")
    harness.decoder.channels = {"call.wav": ("left", "right")}
    for name in ("before.wav", "call.wav", "after.wav"):
        harness.inbox.put(name)
    harness.settle()
    return harness


def test_channels_are_transcribed_separately_and_published_as_one_transcript(
    split: Harness,
) -> None:
    split.run_once()

    assert split.engines.fake.transcribed == [
        "before.wav",
        "call.wav left",
        "call.wav right",
        "after.wav",
    ]
    assert {path.name: text.decode() for path, text in split.publisher.disk.items()} == {
        "before.txt": "before.wav",
        "call.txt": "call.wav left call.wav right",
        "after.txt": "after.wav",
    }
    assert set(split.states().values()) == {State.DONE}
    assert split.runs()[0]["audio_s"] == 30.0


def test_a_failed_channel_fails_only_its_recording(split: Harness) -> None:
    split.engines.fake.failing = {"call.wav right"}

    split.run_once()

    states = split.states()
    assert states.pop("call.wav") is State.RETRY
    assert set(states.values()) == {State.DONE}
    assert "right: the engine failed on it" in split.rows()["call.wav"]["reason"]


def test_a_stop_between_channels_releases_the_recording(split: Harness) -> None:
    split.run_once(should_stop=lambda: len(split.engines.fake.transcribed) >= 2)

    assert split.states()["call.wav"] is State.READY
    assert split.states()["before.wav"] is State.DONE


def test_a_split_transcript_is_not_reused_for_a_mixed_one(split: Harness) -> None:
    split.run_once()
    split.file_options = FileOptions(formats=("txt",))
    split.decoder.same_audio["again.wav"] = "before.wav"
    split.inbox.put("again.wav")
    split.settle()

    split.run_once()

    assert split.engines.fake.transcribed[-1] == "before.wav"
    assert len(split.engines.fake.transcribed) == 5


def test_transcripts_are_merged_by_time_with_the_worst_verdict_and_its_channel() -> None:
    left = Transcript(
        (Segment(0.0, 4.0, " Hello, is that you?"), Segment(8.0, 9.0, " Fine.")), "en", 10.0
    )
    right = Transcript(
        (Segment(3.5, 7.0, " Ja."),),
        "de",
        10.0,
        verdict=Verdict.SUSPECT,
        reasons=("unlikely",),
        warnings=("clipped",),
        skipped_s=4.0,
    )

    both = merge_transcripts([("left", left), ("right", right)])

    assert [(s.start, s.channel) for s in both.segments] == [
        (0.0, "left"),
        (3.5, "right"),
        (8.0, "left"),
    ]
    assert (both.language, both.verdict, both.reasons) == (
        "en",
        Verdict.SUSPECT,
        ("right: unlikely",),
    )
    assert (both.duration_s, both.skipped_s, both.warnings) == (10.0, 2.0, ("clipped",))


def test_an_empty_channel_does_not_change_the_verdict_of_the_other() -> None:
    words = Transcript((Segment(0.0, 1.0, " Yes."),), "en", 2.0)
    silence = Transcript((), "", 2.0, verdict=Verdict.EMPTY)

    assert merge_transcripts([("left", silence), ("right", words)]).verdict is Verdict.OK
    assert merge_transcripts([("left", silence), ("right", silence)]).verdict is Verdict.EMPTY


def test_merged_spans_are_the_union_of_the_channels_speech() -> None:
    assert merge_spans([((0.0, 2.0), (5.0, 6.0)), ((1.0, 3.0),), ()]) == ((0.0, 3.0), (5.0, 6.0))


def test_the_first_two_channels_are_named_left_and_right() -> None:
    assert [channel_name(n) for n in range(3)] == ["left", "right", "channel 3"]
