"""What nobody said is not written as if it had been: silence, noise, hum, tones, chirps and clicks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soxr

import thoth_watch
from thoth_watch.application.ports import EngineSeconds, Recording
from thoth_watch.domain.audio import AudioInfo
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.speech import Vad
from thoth_watch.domain.transcript import Verdict
from thoth_watch.domain.verdict import Judgment, judge
from thoth_watch.infrastructure.voice import SileroVoiceActivity
from thoth_watch.infrastructure.whisper import BatchTranscriptionEngine
from training.noises import KINDS, non_speech
from training.utterances import make_utterances

MODEL = Path(thoth_watch.__file__).parent / "builtin" / "model"
RATE = 16_000

pytestmark = pytest.mark.words


@pytest.fixture(scope="module")
def engine() -> BatchTranscriptionEngine:
    asked = TranscriptionEngineConfig(engine_type="batch", batch_size=8, language="en")
    return BatchTranscriptionEngine(asked, builtin=MODEL)


@pytest.fixture(scope="module")
def voice() -> SileroVoiceActivity:
    return SileroVoiceActivity()


def judged(
    sounds: Sequence[np.ndarray],
    engine: BatchTranscriptionEngine,
    voice: SileroVoiceActivity | None,
) -> list[Judgment]:
    """A verdict on each sound, listened for speech or not, and transcribed."""
    recordings = []
    for key, samples in enumerate(sounds):
        seconds = len(samples) / RATE
        info = AudioInfo(seconds, seconds, RATE, 1, "pcm", "numpy")
        speech = None if voice is None else voice.detect(samples, vad=Vad.AUTO)
        recordings.append(Recording(key, samples, "", info, language="en", speech=speech))
    heard = {
        done.key: done.transcript
        for done in engine.transcribe(
            (recording for recording in recordings if recording.speech != ()),
            seconds=EngineSeconds(),
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )
    }
    return [
        judge(
            heard[r.key].segments if r.key in heard else (),
            speech=r.speech,
            duration_s=r.duration_s,
        )
        for r in recordings
    ]


def clips(count: int) -> list[np.ndarray]:
    """The clips that training/evaluation_sets.py measures on."""
    rng = np.random.default_rng(12345)
    return [non_speech(rng, KINDS[i % len(KINDS)], rng.uniform(2, 12)) for i in range(count)]


@pytest.mark.parametrize(
    ("count", "listens"),
    [
        (24, True),
        pytest.param(200, True, marks=pytest.mark.reliability),
        pytest.param(200, False, marks=pytest.mark.reliability),
    ],
)
def test_no_clip_without_speech_has_words_that_are_believed(engine, voice, count, listens) -> None:
    found = judged(clips(count), engine, voice if listens else None)

    assert {judgement.verdict for judgement in found} <= {Verdict.EMPTY, Verdict.SUSPECT}
    assert sum(judgement.verdict is Verdict.EMPTY for judgement in found) >= 0.9 * count


@pytest.mark.parametrize("count", [16, pytest.param(120, marks=pytest.mark.reliability)])
def test_what_was_said_is_believed(engine, voice, count) -> None:
    try:
        made = make_utterances(count)
    except OSError:
        pytest.skip("espeak-ng is not installed")
    sounds = [soxr.resample(u.samples, u.rate_hz, RATE).astype(np.float32) for u in made]

    found = judged(sounds, engine, voice)

    doubted = [judgement for judgement in found if judgement.verdict is not Verdict.OK]
    assert len(doubted) <= count // 50, doubted
