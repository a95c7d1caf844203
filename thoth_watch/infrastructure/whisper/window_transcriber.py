"""One forward pass: windows of one or several recordings to what is heard in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thoth_watch.application.ports import EngineSeconds, Recording
from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.domain.transcript import Segment, Word
from thoth_watch.infrastructure.whisper.decoding import (
    Prefill,
    TransformersWindowDecoder,
    WindowDecoder,
)
from thoth_watch.infrastructure.whisper.features import count_positions, log_mels
from thoth_watch.infrastructure.whisper.loading import LoadedWhisper
from thoth_watch.infrastructure.whisper.packed import PackedWhisper
from thoth_watch.infrastructure.whisper.packed_decoding import PackedWindowDecoder
from thoth_watch.infrastructure.whisper.placement import read_clock
from thoth_watch.infrastructure.whisper.prompts import PromptBuilder
from thoth_watch.infrastructure.whisper.recording_job import (
    IndependentWindows,
    RecordingJob,
    WindowResult,
    WindowSource,
)
from thoth_watch.infrastructure.whisper.segments import cut_at_timestamps, cut_sequentially
from thoth_watch.infrastructure.whisper.sequential import (
    SequentialWindow,
    SequentialWindows,
    choose_advance,
)
from thoth_watch.infrastructure.whisper.temperature_fallback import (
    DecodingAttempt,
    decode_with_fallback,
)
from thoth_watch.infrastructure.whisper.windows import Spans, Window, cut_windows
from thoth_watch.infrastructure.whisper.word_timestamps import align_words

DECODING_VERSION = 5  # raised when windows, rules or thresholds change the words
SPEECH_THRESHOLD = 0.6  # a window above it does not decide a recording's language
FRAMES_PER_S = 100  # of `seek`


@dataclass(frozen=True, slots=True)
class WindowJob:
    """A window and the recording that it belongs to."""

    job: RecordingJob
    window: Window
    is_first: bool = False


class WindowTranscriber:
    """Hears windows; those of one call share a forward pass."""

    def __init__(
        self, loaded: LoadedWhisper, *, use_cache: bool, trims: bool, options: DecodingOptions
    ) -> None:
        """trims: the encoder sees no more than a window's sound, if it is a PackedWhisper."""
        self._loaded, self._options = loaded, options
        self.trims = trims and isinstance(loaded.model, PackedWhisper)
        self._decoder: WindowDecoder
        if isinstance(loaded.model, PackedWhisper):
            self._decoder = PackedWindowDecoder(
                loaded.model, loaded.special_tokens, options=options
            )
        else:
            self._decoder = TransformersWindowDecoder(loaded, use_cache=use_cache, options=options)
        config, extractor = loaded.model.config, loaded.extractor
        self._positions: int = config.max_source_positions
        self._prompt_builder = PromptBuilder(
            loaded.tokenizer, loaded.special_tokens, options, positions=config.max_target_positions
        )
        chunk_s = (
            options.chunk_length or loaded.special_tokens.chunk_length or extractor.chunk_length
        )
        self.window_samples: int = min(round(chunk_s * SAMPLE_RATE_HZ), extractor.n_samples)
        # openai/whisper's default where a checkpoint names none: the later half of the layers
        layers, heads = config.decoder_layers, config.decoder_attention_heads
        self._heads = loaded.special_tokens.alignment_heads or tuple(
            (layer, head) for layer in range(layers // 2, layers) for head in range(heads)
        )
        self._step_s = extractor.chunk_length / self._positions  # 0.02

    @property
    def is_suspect_retry_enabled(self) -> bool:
        """Whether what is in doubt is heard once more, the careful way."""
        return self._options.retry_suspect

    def build_retry_source(self, recording: Recording, spans: Spans) -> WindowSource:
        """The careful way, sequentially, through parts of a recording."""
        samples, speech = recording.samples, recording.speech
        extractor, n_samples = self._loaded.extractor, self.window_samples
        return SequentialWindows(
            extractor, samples, window_samples=n_samples, spans=spans, speech=speech
        )

    def build_window_source(self, recording: Recording) -> WindowSource:
        """The way through a recording that the options ask for, behind what was heard of it before."""
        samples, speech = recording.samples, recording.speech
        start = recording.partial.n_samples if recording.partial is not None else 0
        if self._options.is_sequential:
            return self.build_retry_source(recording, ((start, len(samples)),))
        windows = cut_windows(samples, window_samples=self.window_samples, speech=speech)
        return IndependentWindows(windows, n_samples=len(samples), start=start)

    def transcribe(
        self, window_jobs: Sequence[WindowJob], seconds: EngineSeconds
    ) -> list[WindowResult]:
        """What was said in each window; adds the time that each stage took to `seconds`.

        Pieces of one recording are in time order. Changes nothing but `seconds`, so that it can be
        called again with fewer windows.
        """
        device = self._loaded.device
        started = read_clock(device)
        features = self._features([window_job.window for window_job in window_jobs])
        extracted = read_clock(device)
        seconds.features_s += extracted - started
        hidden = self._decoder.encode(features)
        encoded = read_clock(device)
        seconds.encode_s += encoded - extracted
        prefill = self._decoder.prefill(hidden)
        languages = _choose_languages(window_jobs, prefill.languages, prefill.no_speech_probs)
        prompts = [
            self._prompt_builder.build(
                window_job.job, language=language, is_first=window_job.is_first
            )
            for window_job, language in zip(window_jobs, languages, strict=True)
        ]
        attempts = decode_with_fallback(
            self._decoder,
            hidden,
            prefill,
            prompts,
            options=self._options,
            text_of=self._text,
            seeds=[window_job.window.start for window_job in window_jobs],
            careful=[window_job.job.is_careful for window_job in window_jobs],
        )
        words: list[list[tuple[Word, int]]] = [[] for _ in window_jobs]
        if self._options.word_timestamps:
            words = self._words(window_jobs, prefill, attempts, languages)
        seconds.generate_s += read_clock(device) - encoded
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device)
            seconds.peak_gpu_bytes = max(seconds.peak_gpu_bytes, peak)
        return [
            self._build_result(window_job, attempt, language, said)
            for window_job, attempt, language, said in zip(
                window_jobs, attempts, languages, words, strict=True
            )
        ]

    def _words(
        self,
        window_jobs: Sequence[WindowJob],
        prefill: Prefill,
        attempts: Sequence[DecodingAttempt],
        languages: Sequence[str],
    ) -> list[list[tuple[Word, int]]]:
        """The words of each window with their times from its start and their numbers of tokens."""
        v = self._loaded.special_tokens
        rows = [row for row, attempt in enumerate(attempts) if not attempt.is_silence]
        texts = {row: [t for t in attempts[row].decoded.tokens if t < v.end] for row in rows}
        rows = [row for row in rows if texts[row]]
        found: list[list[tuple[Word, int]]] = [[] for _ in window_jobs]
        if not rows:
            return found
        prompts = [
            [*v.prompt(languages[row], window_jobs[row].job.recording.task), v.no_timestamps]
            for row in rows
        ]
        looks = self._decoder.align(
            prefill, prompts, [texts[row] for row in rows], self._heads, rows=rows
        )
        for row, prompt, look in zip(rows, prompts, looks, strict=True):
            found[row] = align_words(
                look,
                texts[row],
                prompt_length=len(prompt),
                tokenizer=self._loaded.tokenizer,
                special_tokens=v,
                language=languages[row],
                step_s=self._step_s,
                duration_s=window_jobs[row].window.duration_s,
            )
        return found

    def _features(self, windows: Sequence[Window]) -> Tensor:
        """Log-mels of all windows, float32, shape (n, n_mels, frames)."""
        cut = [w.samples for w in windows if not isinstance(w, SequentialWindow)]
        positions = self._positions
        if self.trims and len(cut) == len(windows):
            positions = count_positions(max(map(len, cut)), limit=positions)
        extractor, device = self._loaded.extractor, self._loaded.device
        on = device if device.type == "cuda" else None
        found = iter(log_mels(extractor, cut, positions=positions, device=on) if cut else ())
        return torch.stack(
            [w.features() if isinstance(w, SequentialWindow) else next(found) for w in windows]
        )

    def _build_result(
        self,
        window_job: WindowJob,
        attempt: DecodingAttempt,
        language: str,
        words: list[tuple[Word, int]],
    ) -> WindowResult:
        window = window_job.window
        is_sequential = isinstance(window, SequentialWindow)
        is_speech = attempt.no_speech_prob <= SPEECH_THRESHOLD
        tokens, duration_s = attempt.decoded.tokens, window.duration_s
        if attempt.is_silence:
            return WindowResult((), language, is_speech, len(tokens), duration_s)
        begin = self._loaded.special_tokens.timestamp_begin
        how = {"timestamp_begin": begin, "step_s": self._step_s, "window_s": duration_s}
        advance_s = duration_s
        if is_sequential:
            stretches, advance_s = cut_sequentially(tokens, **how)
            speech = window_job.job.recording.speech
            if speech is not None and stretches:
                advance_s = choose_advance(
                    stretches[-1].end, advance_s, window=window, speech=speech
                )
        else:
            stretches = cut_at_timestamps(tokens, **how)
        segments, end, left = [], self._loaded.special_tokens.end, deque(words)
        for stretch in stretches:
            text = self._text(stretch.tokens)
            said = _take_words(left, sum(token < end for token in stretch.tokens), window.offset_s)
            if text.strip():
                segments.append(
                    Segment(
                        start=round(window.offset_s + stretch.start, 3),
                        end=round(window.offset_s + stretch.end, 3),
                        text=text,
                        tokens=stretch.tokens,
                        temperature=attempt.temperature,
                        avg_logprob=attempt.decoded.avg_logprob,
                        compression_ratio=attempt.compression_ratio,
                        no_speech_prob=attempt.no_speech_prob,
                        seek=round(window.offset_s * FRAMES_PER_S),
                        words=said,
                    )
                )
        return WindowResult(tuple(segments), language, is_speech, len(tokens), advance_s)

    def _text(self, tokens: Sequence[int]) -> str:
        """The words of tokens, without timestamps and other marks."""
        words = [t for t in tokens if t < self._loaded.special_tokens.timestamp_begin]
        text: str = self._loaded.tokenizer.decode(words, skip_special_tokens=True)
        return text


def _take_words(words: deque[tuple[Word, int]], n_tokens: int, offset_s: float) -> tuple[Word, ...]:
    """The words of the next so many tokens, with their times in the recording."""
    taken = []
    while words and n_tokens > 0:
        word, length = words.popleft()
        n_tokens -= length
        start, end = round(word.start + offset_s, 3), round(word.end + offset_s, 3)
        taken.append(replace(word, start=start, end=end))
    return tuple(taken)


def _choose_languages(
    window_jobs: Sequence[WindowJob], likely: Sequence[str], no_speech_probs: Sequence[float]
) -> list[str]:
    """Each window's language: given, else that of its recording's first window with speech.

    A window before that one is decoded in its own most likely language.
    """
    decided: dict[int, str] = {}
    languages = []
    for window_job, detected, no_speech in zip(window_jobs, likely, no_speech_probs, strict=True):
        job = window_job.job
        language = job.language or decided.get(id(job))
        if language is None:
            language = detected
            if no_speech <= SPEECH_THRESHOLD:
                decided[id(job)] = detected
        languages.append(language)
    return languages
