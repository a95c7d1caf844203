"""Tests of the three engines: lazy, in order, with failures confined to one recording."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from thoth_watch.application.ports.engine import EngineSeconds
from thoth_watch.domain.decoding import GREEDY
from thoth_watch.domain.engine import EngineType, Fallback, TranscriptionEngineConfig
from thoth_watch.domain.errors import EngineUnavailable
from thoth_watch.domain.transcript import Verdict
from thoth_watch.infrastructure.whisper import (
    ENGINES,
    AcceleratedWhisperEngine,
    BatchWhisperEngine,
    WhisperEngine,
)

EVERY_ENGINE = pytest.mark.parametrize("engine_class", ENGINES.values(), ids=list(ENGINES))


class CountingTranscriber:
    """Wrap a transcriber: count the windows of each forward pass and fail on request."""

    def __init__(self, transcriber, *, limit=99, failing_key=None):
        self.transcriber, self.limit, self.failing_key = transcriber, limit, failing_key
        self.build_window_source = transcriber.build_window_source
        self.is_suspect_retry_enabled = transcriber.is_suspect_retry_enabled
        self.trims = transcriber.trims
        self.sizes = []
        self.keys = []

    def transcribe(self, window_jobs, seconds):
        self.sizes.append(len(window_jobs))
        self.keys.append([window_job.job.recording.key for window_job in window_jobs])
        if len(window_jobs) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB\nand more")
        if self.failing_key in self.keys[-1]:
            raise ValueError("bad features")
        return self.transcriber.transcribe(window_jobs, seconds)


@pytest.fixture
def counted(tiny_whisper):
    """Return a function that builds an engine whose forward passes are counted."""

    def make(engine_class=BatchWhisperEngine, *, limit=99, failing_key=None, **settings):
        config = TranscriptionEngineConfig(precision="float32", decoding=GREEDY, **settings)
        engine = engine_class(config, builtin=tiny_whisper)
        transcriber = CountingTranscriber(
            engine._scheduler._transcriber, limit=limit, failing_key=failing_key
        )
        engine._scheduler._transcriber = transcriber
        return engine, transcriber

    return make


def texts(results):
    return {key: result.transcript.text for key, result in results.items()}


def test_the_engines_differ_only_in_their_flags():
    table = {
        kind: (engine.is_placed_by_accelerate, engine.is_batched_across_recordings)
        for kind, engine in ENGINES.items()
    }

    assert table == {
        EngineType.STANDARD: (False, False),
        EngineType.ACCELERATED: (True, False),
        EngineType.BATCH: (True, True),
    }


def test_all_engines_return_the_same_transcripts_in_float32(load, transcribe, recording, bursts):
    waveforms = [bursts(duration_s, seed) for seed, duration_s in enumerate((1, 12.5, 0.05, 2, 7))]
    transcripts = []
    for engine_class in ENGINES.values():
        engine = load(engine_class, precision="float32", batch_size=3)
        results = transcribe(engine, [recording(k, s) for k, s in enumerate(waveforms)])
        transcripts.append({key: result.transcript for key, result in results.items()})

    standard, accelerated, batch = transcripts
    assert len(standard) == 5
    for compared in (accelerated, batch):
        for key, transcript in standard.items():
            assert compared[key].text == transcript.text
            assert compared[key].language == transcript.language
            assert [s.tokens for s in compared[key].segments] == [
                s.tokens for s in transcript.segments
            ]


@pytest.mark.parametrize(
    ("engine_class", "sizes"),
    [
        (WhisperEngine, [1, 1, 1, 1, 1]),
        (AcceleratedWhisperEngine, [1, 3, 1]),
        (BatchWhisperEngine, [4, 1]),
    ],
)
def test_each_engine_batches_windows_as_documented(
    counted, transcribe, recording, bursts, engine_class, sizes
):
    engine, transcriber = counted(engine_class, batch_size=4)

    transcribe(engine, [recording(k, bursts(d)) for k, d in enumerate((2, 12.5, 3))])

    assert transcriber.sizes == sizes


def test_segments_are_in_time_order_within_the_recording(load, transcribe, recording, bursts):
    result = transcribe(load(), [recording(0, bursts(12.5))])[0]

    times = [time for s in result.transcript.segments for time in (s.start, s.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= 12.5
    assert result.transcript.duration_s == 12.5
    assert result.transcript.segments[-1].seek > 600


@EVERY_ENGINE
def test_recordings_are_pulled_one_by_one_as_batches_need_them(
    load, recording, bursts, engine_class
):
    pulled = []

    def source():
        for key in range(8):
            pulled.append(key)
            yield recording(key, bursts(1, key))

    results = load(engine_class, batch_size=2).transcribe(
        source(), seconds=EngineSeconds(), on_progress=lambda _: None, should_stop=lambda: False
    )

    assert pulled == []
    first = next(results)
    assert first.key == 0
    assert len(pulled) <= 2
    assert len([first, *results]) == 8


@EVERY_ENGINE
def test_a_result_is_returned_before_the_next_recording_is_pulled(
    load, recording, bursts, engine_class
):
    def source():
        yield recording(0, bursts(1))
        raise RuntimeError("the next file was pulled too early")

    results = load(engine_class, batch_size=1).transcribe(
        source(), seconds=EngineSeconds(), on_progress=lambda _: None, should_stop=lambda: False
    )

    assert next(results).key == 0
    with pytest.raises(RuntimeError):
        next(results)


@EVERY_ENGINE
def test_recordings_are_closed_when_finished(load, transcribe, recording, bursts, engine_class):
    closed: list[int] = []
    recordings = [recording(k, bursts(d), closed=closed) for k, d in enumerate((1, 7, 0))]

    transcribe(load(engine_class), recordings)

    assert sorted(closed) == [0, 1, 2]


@pytest.mark.parametrize(
    ("audio_context", "expected_keys"),
    [("trim", [[1, 3], [5, 0], [4, 2]]), ("full", [[0, 1], [2, 3], [4, 5]])],
)
def test_trimmed_windows_are_batched_by_length(
    counted, transcribe, recording, bursts, audio_context, expected_keys
):
    engine, transcriber = counted(batch_size=2, audio_context=audio_context)
    lengths = (2.5, 0.5, 4.5, 1, 4, 1.5)

    results = transcribe(engine, [recording(k, bursts(s, k)) for k, s in enumerate(lengths)])

    assert transcriber.keys == expected_keys
    single, _ = counted(batch_size=1, audio_context=audio_context)
    one_by_one = transcribe(single, [recording(k, bursts(s, k)) for k, s in enumerate(lengths)])
    assert set(results) == set(one_by_one) == set(range(6))


def test_a_stop_also_closes_recordings_waiting_to_be_sorted(counted, recording, bursts):
    engine, transcriber = counted(batch_size=1, audio_context="trim")
    closed: list[int] = []
    recordings = (recording(k, bursts(1 + k / 4), closed=closed) for k in range(9))

    results = list(
        engine.transcribe(
            recordings,
            seconds=EngineSeconds(),
            on_progress=lambda _: None,
            should_stop=lambda: len(transcriber.sizes) >= 2,
        )
    )

    assert [r.key for r in results] == [0, 1]
    assert sorted(closed) == [0, 1, 2, 3, 4]  # four passes are read ahead of the first


def test_a_stop_takes_effect_after_the_current_forward_pass(counted, recording, bursts):
    engine, transcriber = counted(batch_size=2)
    closed: list[int] = []
    recordings = (recording(k, bursts(1, k), closed=closed) for k in range(9))

    results = list(
        engine.transcribe(
            recordings,
            seconds=EngineSeconds(),
            on_progress=lambda _: None,
            should_stop=lambda: len(transcriber.sizes) >= 2,
        )
    )

    assert transcriber.sizes == [2, 2]
    assert [r.key for r in results] == [0, 1, 2, 3]
    assert closed == [0, 1, 2, 3]


def test_a_recording_interrupted_by_a_stop_has_no_result_and_is_closed(counted, recording, bursts):
    engine, transcriber = counted(batch_size=1)
    closed: list[int] = []

    results = list(
        engine.transcribe(
            [recording(0, bursts(12.5), closed=closed)],
            seconds=EngineSeconds(),
            on_progress=lambda _: None,
            should_stop=lambda: len(transcriber.sizes) >= 2,
        )
    )

    assert results == []
    assert closed == [0]


def test_progress_adds_up_to_the_audio(load, recording, bursts):
    progress: list[float] = []

    list(
        load(BatchWhisperEngine, batch_size=2).transcribe(
            [recording(k, bursts(d)) for k, d in enumerate((2, 12.5, 3))],
            seconds=EngineSeconds(),
            on_progress=progress.append,
            should_stop=lambda: False,
        )
    )

    assert sum(progress) == pytest.approx(17.5)
    assert len(progress) >= 2


def test_out_of_memory_halves_the_batch_size_and_loses_no_window(
    counted, transcribe, recording, bursts, load
):
    engine, transcriber = counted(limit=2, batch_size=8)
    recordings = [recording(k, bursts(1, k)) for k in range(10)]

    results = transcribe(engine, recordings)

    assert transcriber.sizes == [8, 4, 2, 2, 2, 2, 2]
    assert engine.fallbacks == [
        Fallback("batch_size", "8", "2", "CUDA out of memory. Tried to allocate 3 GiB")
    ]
    assert engine.placement.batch_size == 2
    assert texts(results) == texts(transcribe(load(BatchWhisperEngine), recordings))


def test_running_out_of_memory_on_one_window_fails_that_recording(
    counted, transcribe, recording, bursts
):
    engine, _ = counted(limit=0, batch_size=2)

    results = transcribe(engine, [recording(k, bursts(1)) for k in range(2)])

    assert all(r.transcript is None and "out of memory" in r.error for r in results.values())


def test_a_failing_recording_does_not_affect_the_others(
    counted, transcribe, recording, bursts, load
):
    engine, transcriber = counted(failing_key=1, batch_size=4)
    closed: list[int] = []
    recordings = [recording(k, bursts(1, k), closed=closed) for k in range(4)]

    results = transcribe(engine, recordings)

    assert results[1].transcript is None
    assert results[1].error == "ValueError: bad features"
    assert transcriber.keys == [[0, 1, 2, 3], [0], [1], [2], [3]]
    assert sorted(closed) == [0, 1, 2, 3]
    remaining = [recordings[k] for k in (0, 2, 3)]
    assert texts({k: results[k] for k in (0, 2, 3)}) == texts(
        transcribe(load(BatchWhisperEngine), remaining)
    )


def test_a_device_failure_is_not_attributed_to_a_recording(counted, recording, bursts, transcribe):
    engine, transcriber = counted()

    def fail(*_):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    transcriber.transcribe = fail
    with pytest.raises(EngineUnavailable, match="the device failed"):
        transcribe(engine, [recording(0, bursts(1))])


@EVERY_ENGINE
def test_a_recording_without_samples_has_an_empty_transcript(
    load, transcribe, recording, engine_class
):
    result = transcribe(load(engine_class), [recording(0, np.zeros(0, np.float32))])[0]

    assert result.transcript.text == ""
    assert result.transcript.verdict is Verdict.EMPTY
    assert result.transcript.duration_s == 0


def test_a_truncated_recording_has_the_verdict_truncated(load, transcribe, recording, bursts):
    warnings = ("truncated: 3.0 of 9.0 s",)

    result = transcribe(load(), [recording(0, bursts(3), warnings=warnings)])[0]

    assert result.transcript.verdict is Verdict.TRUNCATED
    assert result.transcript.warnings == warnings


def test_a_window_with_low_confidence_and_likely_silence_has_no_words(
    load, transcribe, recording, bursts
):
    item = recording(0, bursts(3))
    assert transcribe(load(), [item])[0].transcript.text

    strict = replace(GREEDY, no_speech_threshold=-1.0, logprob_threshold=1.0)

    result = transcribe(load(decoding=strict), [item])[0]
    assert result.transcript.verdict is Verdict.EMPTY


def test_each_recording_has_its_own_language(load, transcribe, recording, bursts):
    languages = ["de", "English", None, "FR"]
    recordings = [recording(k, bursts(2, k), language=lang) for k, lang in enumerate(languages)]

    results = transcribe(load(BatchWhisperEngine), recordings)

    used = [results[k].transcript.language for k in range(4)]
    assert [used[0], used[1], used[3]] == ["de", "en", "fr"]
    assert used[2] in {"en", "de", "fr", "es"}


@EVERY_ENGINE
def test_the_first_window_with_speech_decides_the_recordings_language(
    load, transcribe, recording, bursts, monkeypatch, engine_class
):
    engine = load(engine_class, batch_size=4)
    prompts = []
    decoder = engine._scheduler._transcriber._decoder
    greedy, prefill = decoder.greedy, decoder.prefill
    languages_found = iter(["fr", "de", "es"])
    no_speech_probs = iter([0.9, 0.1, 0.1])

    def fake_prefill(hidden):
        real = prefill(hidden)
        n_windows = hidden.shape[0]
        return type(real)(
            [next(no_speech_probs) for _ in range(n_windows)],
            [next(languages_found) for _ in range(n_windows)],
            real.state,
            real.logits,
        )

    def record_prompts(prefill, given):
        prompts.extend(given)
        return greedy(prefill, given)

    monkeypatch.setattr(decoder, "prefill", fake_prefill)
    monkeypatch.setattr(decoder, "greedy", record_prompts)
    result = transcribe(engine, [recording(0, bursts(12.5))])[0]

    languages = engine._loaded.special_tokens.languages
    assert [p[1] for p in prompts] == [languages["fr"], languages["de"], languages["de"]]
    assert result.transcript.language == "de"


def test_an_unknown_language_fails_that_recording_only(load, transcribe, recording, bursts):
    recordings = [recording(0, bursts(1), language="klingon"), recording(1, bursts(1))]

    results = transcribe(load(BatchWhisperEngine), recordings)

    assert "'klingon': this model knows 4 languages" in results[0].error
    assert results[1].transcript is not None


def test_an_english_only_model_refuses_other_languages_and_translation(
    tiny_english_whisper, transcribe, recording, bursts
):
    engine = AcceleratedWhisperEngine(TranscriptionEngineConfig(model=str(tiny_english_whisper)))
    samples = bursts(1)
    recordings = [
        recording(0, samples, language="de"),
        recording(1, samples, task="translate"),
        recording(2, samples),
        recording(3, samples, language="en"),
    ]

    results = transcribe(engine, recordings)

    assert "knows only English" in results[0].error
    assert "can only transcribe" in results[1].error
    assert results[2].transcript == results[3].transcript
    assert results[2].transcript.language == "en"


def test_time_and_tokens_are_counted(load, transcribe, recording, bursts):
    seconds = EngineSeconds()

    results = transcribe(
        load(BatchWhisperEngine), [recording(k, bursts(2, k)) for k in range(3)], seconds
    )

    assert min(seconds.features_s, seconds.encode_s, seconds.generate_s) > 0
    assert seconds.tokens == sum(r.transcript.n_tokens for r in results.values()) > 0


def test_fallbacks_of_the_caller_are_listed_first(tiny_whisper):
    given = Fallback("engine", "batch on cuda", "standard on cpu", "no GPU")

    engine = WhisperEngine(builtin=tiny_whisper, fallbacks=[given])

    assert engine.fallbacks == [given]
    assert engine.load_s > 0


@EVERY_ENGINE
def test_the_class_decides_the_engine_regardless_of_the_config(load, engine_class):
    info = load(engine_class).get_device_info()

    assert info["engine"] == engine_class.engine_type
    assert info["batch_size"] == (1 if engine_class.engine_type == "standard" else 8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_auto_uses_half_precision_and_reports_peak_memory(
    load, transcribe, recording, bursts
):
    engine = load(BatchWhisperEngine, device="cuda", precision="auto")
    seconds = EngineSeconds()

    transcribe(engine, [recording(0, bursts(3))], seconds)

    assert engine.placement.precision in {"bfloat16", "float16"}
    assert engine.placement.device == "cuda:0"
    assert seconds.peak_gpu_bytes > 0


@EVERY_ENGINE
@pytest.mark.parametrize("long_form", ["windowed", "sequential"])
def test_an_interrupted_recording_resumes_with_the_same_result(
    load, transcribe, recording, bursts, engine_class, long_form
):
    options = replace(GREEDY, long_form=long_form)
    engine, samples, saved = load(engine_class, decoding=options, batch_size=2), bursts(31), []
    whole = transcribe(engine, [recording(0, samples, save_partial=saved.append)])[0].transcript
    assert len(saved) >= 3

    for partial in (saved[0], saved[-1]):
        resumed = transcribe(engine, [recording(0, samples, partial=partial)])[0].transcript

        assert partial.n_samples > 0
        assert [s.tokens for s in resumed.segments] == [s.tokens for s in whole.segments]
        assert resumed == whole


@EVERY_ENGINE
def test_a_suspect_recording_is_decoded_again_with_careful_settings(
    load, transcribe, recording, bursts, engine_class, monkeypatch
):
    options = replace(GREEDY, logprob_threshold=None, retry_suspect=True)
    engine = load(engine_class, decoding=options, fresh=True)
    transcriber, careful, progress = engine._scheduler._transcriber, [], []
    transcribe_jobs = transcriber.transcribe
    monkeypatch.setattr(
        transcriber,
        "transcribe",
        lambda window_jobs, seconds: (
            careful.extend(p.job.is_careful for p in window_jobs)
            or transcribe_jobs(window_jobs, seconds)
        ),
    )
    closed: list[int] = []
    item = recording(0, bursts(11), closed=closed)  # random weights give a suspect transcript

    (result,) = engine.transcribe(
        [item], seconds=EngineSeconds(), on_progress=progress.append, should_stop=lambda: False
    )

    assert careful[0] is False
    assert careful[-1] is True
    assert result.transcript.verdict is Verdict.SUSPECT
    assert result.transcript.reasons
    assert sum(progress) == pytest.approx(11)
    assert closed == [0]


@pytest.mark.parametrize("long_form", ["windowed", "sequential"])
def test_windows_are_no_longer_than_chunk_length(load, transcribe, recording, bursts, long_form):
    longest = {}
    for seconds in (None, 2.0):
        options = replace(GREEDY, long_form=long_form, chunk_length=seconds)
        engine = load(decoding=options, fresh=True)
        transcriber, windows = engine._scheduler._transcriber, []
        original = transcriber.transcribe
        transcriber.transcribe = lambda window_jobs, spent, original=original, windows=windows: (
            windows.extend(p.window for p in window_jobs) or original(window_jobs, spent)
        )
        transcribe(engine, [recording(0, bursts(12.5))])
        assert windows[0].start == 0
        assert windows[-1].stop == 200_000
        longest[seconds] = max(window.duration_s for window in windows)

    assert longest[None] > 2.5
    assert longest[2.0] <= 2.0


def test_spans_without_speech_are_skipped_and_counted(load, transcribe, recording, bursts):
    item = recording(0, bursts(31), speech=((2.0, 4.0), (20.0, 22.5)))

    transcript = transcribe(load(), [item])[0].transcript

    assert transcript.skipped_s == pytest.approx(31 - 2.8 - 3.3, abs=0.1)
    assert {s.seek for s in transcript.segments} <= {160, 1960}
