"""Tests that audio without speech (silence, noise, hum, tones, chirps, clicks) yields no trusted text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soxr

import thoth_watch
from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import EngineSeconds
from thoth_watch.domain.audio import AudioInfo
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.speech import Vad
from thoth_watch.domain.transcript import Verdict
from thoth_watch.domain.verdict import Judgment, judge
from thoth_watch.infrastructure.voice import SileroVoiceActivity
from thoth_watch.infrastructure.whisper import BatchWhisperEngine
from training.noises import KINDS, non_speech
from training.utterances import make_utterances

MODEL = Path(thoth_watch.__file__).parent / "builtin" / "model"
RATE = 16_000

pytestmark = pytest.mark.words


@pytest.fixture(scope="module")
def engine() -> BatchWhisperEngine:
    config = TranscriptionEngineConfig(engine_type="batch", batch_size=8, language="en")
    return BatchWhisperEngine(config, builtin=MODEL)


@pytest.fixture(scope="module")
def voice() -> SileroVoiceActivity:
    return SileroVoiceActivity()


def judge_all(
    waveforms: Sequence[np.ndarray],
    engine: BatchWhisperEngine,
    voice: SileroVoiceActivity | None,
) -> list[Judgment]:
    """Transcribe each waveform, with speech detection if `voice` is given, and return its judgment."""
    recordings = []
    for key, samples in enumerate(waveforms):
        seconds = len(samples) / RATE
        info = AudioInfo(seconds, seconds, RATE, 1, "pcm", "numpy")
        speech = None if voice is None else voice.detect(samples, vad=Vad.AUTO)
        recordings.append(Recording(key, samples, "", info, language="en", speech=speech))
    transcripts = {
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
            transcripts[r.key].segments if r.key in transcripts else (),
            speech=r.speech,
            duration_s=r.duration_s,
        )
        for r in recordings
    ]


def clips(count: int) -> list[np.ndarray]:
    """Return the clips that training/evaluation_sets.py also uses."""
    rng = np.random.default_rng(12345)
    return [non_speech(rng, KINDS[i % len(KINDS)], rng.uniform(2, 12)) for i in range(count)]


@pytest.mark.parametrize(
    ("count", "detects_speech"),
    [
        (24, True),
        pytest.param(200, True, marks=pytest.mark.reliability),
        pytest.param(200, False, marks=pytest.mark.reliability),
    ],
)
def test_a_clip_without_speech_is_empty_or_suspect(engine, voice, count, detects_speech) -> None:
    found = judge_all(clips(count), engine, voice if detects_speech else None)

    assert {judgment.verdict for judgment in found} <= {Verdict.EMPTY, Verdict.SUSPECT}
    assert sum(judgment.verdict is Verdict.EMPTY for judgment in found) >= 0.9 * count


@pytest.mark.parametrize("count", [16, pytest.param(120, marks=pytest.mark.reliability)])
def test_speech_gets_the_verdict_ok(engine, voice, count) -> None:
    try:
        made = make_utterances(count)
    except OSError:
        pytest.skip("espeak-ng is not installed")
    waveforms = [soxr.resample(u.samples, u.rate_hz, RATE).astype(np.float32) for u in made]

    found = judge_all(waveforms, engine, voice)

    doubted = [judgment for judgment in found if judgment.verdict is not Verdict.OK]
    assert len(doubted) <= count // 50, doubted
