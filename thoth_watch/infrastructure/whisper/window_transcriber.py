"""One forward pass: encode windows, decode them with temperature fallback, and build their segments."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import EngineSeconds
from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.domain.transcript import Segment, Word
from thoth_watch.infrastructure.whisper.decoding.temperature_fallback import (
    DecodingAttempt,
    decode_with_fallback,
)
from thoth_watch.infrastructure.whisper.decoding.window_decoder import Prefill, WindowDecoder
from thoth_watch.infrastructure.whisper.decoding.word_timestamps import align_words
from thoth_watch.infrastructure.whisper.loading.load_whisper import LoadedWhisper
from thoth_watch.infrastructure.whisper.longform.features import count_positions, log_mels
from thoth_watch.infrastructure.whisper.longform.prompts import PromptBuilder
from thoth_watch.infrastructure.whisper.longform.recording_job import (
    IndependentWindows,
    RecordingJob,
    WindowResult,
    WindowSource,
)
from thoth_watch.infrastructure.whisper.longform.sequential import SequentialWindows
from thoth_watch.infrastructure.whisper.longform.windows import Spans, Window, cut_windows
from thoth_watch.infrastructure.whisper.placement import read_clock

DECODING_VERSION = 5  # part of the fingerprint; raised when code changes alter the text
SPEECH_THRESHOLD = 0.6  # no-speech probability above which a window does not set the language
FRAMES_PER_S = 100  # unit of a segment's `seek`


@dataclass(frozen=True, slots=True)
class WindowJob:
    """A window with its recording's job."""

    job: RecordingJob
    window: Window
    is_first: bool = False


class WindowTranscriber:
    """Transcribes windows; those of one call share a forward pass."""

    def __init__(self, loaded: LoadedWhisper, *, trims: bool, options: DecodingOptions) -> None:
        """Choose the decoder, window length and alignment heads for a loaded model.

        trims: encode only a window's audio instead of padding it to 30 s, if the network supports it.
        """
        self._loaded, self._options = loaded, options
        self.trims = trims and loaded.network.encodes_short_windows
        self._decoder = WindowDecoder(loaded.network, loaded.special_tokens, options=options)
        config, extractor = loaded.network.config, loaded.extractor
        self._positions: int = config.max_source_positions
        self._prompt_builder = PromptBuilder(
            loaded.tokenizer, loaded.special_tokens, options, positions=config.max_target_positions
        )
        chunk_s = (
            options.chunk_length or loaded.special_tokens.chunk_length or extractor.chunk_length
        )
        self.window_samples: int = min(round(chunk_s * SAMPLE_RATE_HZ), extractor.n_samples)
        # without alignment heads in the checkpoint: all heads of the upper half of the layers, as
        # in openai/whisper
        layers, heads = config.decoder_layers, config.decoder_attention_heads
        self._heads = loaded.special_tokens.alignment_heads or tuple(
            (layer, head) for layer in range(layers // 2, layers) for head in range(heads)
        )
        self._step_s = extractor.chunk_length / self._positions  # 0.02

    @property
    def is_suspect_retry_enabled(self) -> bool:
        """Return True if suspect spans are decoded again, carefully."""
        return self._options.retry_suspect

    def build_retry_source(self, recording: Recording, spans: Spans) -> WindowSource:
        """Return a window source that decodes the spans of a recording sequentially."""
        samples, speech = recording.samples, recording.speech
        extractor, n_samples = self._loaded.extractor, self.window_samples
        return SequentialWindows(
            extractor, samples, window_samples=n_samples, spans=spans, speech=speech
        )

    def build_window_source(self, recording: Recording) -> WindowSource:
        """Return the configured window source for a recording, after its partial transcript."""
        samples, speech = recording.samples, recording.speech
        start = recording.partial.n_samples if recording.partial is not None else 0
        if self._options.is_sequential:
            return self.build_retry_source(recording, ((start, len(samples)),))
        windows = cut_windows(samples, window_samples=self.window_samples, speech=speech)
        return IndependentWindows(windows, n_samples=len(samples), start=start)

    def transcribe(
        self, window_jobs: Sequence[WindowJob], seconds: EngineSeconds
    ) -> list[WindowResult]:
        """Return the result of each window; add the time of each stage to `seconds`.

        window_jobs: those of the same recording in time order. Changes only `seconds`, so it can be
        called again with fewer windows.
        """
        device = self._loaded.network.device
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
            self._build_result(window_job, attempt, language, window_words)
            for window_job, attempt, language, window_words in zip(
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
        """Return the words of each window, timed from the window's start, with their token counts."""
        special = self._loaded.special_tokens
        rows = [row for row, attempt in enumerate(attempts) if not attempt.is_silence]
        texts = {row: [t for t in attempts[row].decoded.tokens if t < special.end] for row in rows}
        rows = [row for row in rows if texts[row]]
        words: list[list[tuple[Word, int]]] = [[] for _ in window_jobs]
        if not rows:
            return words
        prompts = [
            [
                *special.prompt(languages[row], window_jobs[row].job.recording.task),
                special.no_timestamps,
            ]
            for row in rows
        ]
        alignments = self._decoder.align(
            prefill, prompts, [texts[row] for row in rows], self._heads, rows=rows
        )
        for row, prompt, alignment in zip(rows, prompts, alignments, strict=True):
            words[row] = align_words(
                alignment,
                texts[row],
                prompt_length=len(prompt),
                tokenizer=self._loaded.tokenizer,
                special_tokens=special,
                language=languages[row],
                step_s=self._step_s,
                duration_s=window_jobs[row].window.duration_s,
            )
        return words

    def _features(self, windows: Sequence[Window]) -> Tensor:
        """Return the log-mels of all windows, float32, shape (n_windows, n_mels, frames)."""
        ready = [window.recording_features() for window in windows]
        independent = [
            window.samples
            for window, features in zip(windows, ready, strict=True)
            if features is None
        ]
        positions = self._positions
        if self.trims and len(independent) == len(windows):
            positions = count_positions(max(map(len, independent)), limit=positions)
        extractor, device = self._loaded.extractor, self._loaded.network.device
        feature_device = device if device.type == "cuda" else None
        mels = iter(
            log_mels(extractor, independent, positions=positions, device=feature_device)
            if independent
            else ()
        )
        return torch.stack([next(mels) if own is None else own for own in ready])

    def _build_result(
        self,
        window_job: WindowJob,
        attempt: DecodingAttempt,
        language: str,
        words: list[tuple[Word, int]],
    ) -> WindowResult:
        window = window_job.window
        is_speech = attempt.no_speech_prob <= SPEECH_THRESHOLD
        tokens, duration_s = attempt.decoded.tokens, window.duration_s
        if attempt.is_silence:
            return WindowResult((), language, is_speech, len(tokens), duration_s)
        spans, advance_s = window.cut_tokens(
            tokens,
            timestamp_begin=self._loaded.special_tokens.timestamp_begin,
            step_s=self._step_s,
            speech=window_job.job.recording.speech,
        )
        segments, end, remaining_words = [], self._loaded.special_tokens.end, deque(words)
        for span in spans:
            text = self._text(span.tokens)
            segment_words = _take_words(
                remaining_words, sum(token < end for token in span.tokens), window.offset_s
            )
            if text.strip():
                segments.append(
                    Segment(
                        start=round(window.offset_s + span.start, 3),
                        end=round(window.offset_s + span.end, 3),
                        text=text,
                        tokens=span.tokens,
                        temperature=attempt.temperature,
                        avg_logprob=attempt.decoded.avg_logprob,
                        compression_ratio=attempt.compression_ratio,
                        no_speech_prob=attempt.no_speech_prob,
                        seek=round(window.offset_s * FRAMES_PER_S),
                        words=segment_words,
                    )
                )
        return WindowResult(tuple(segments), language, is_speech, len(tokens), advance_s)

    def _text(self, tokens: Sequence[int]) -> str:
        """Decode tokens to text, without timestamps and other special tokens."""
        text_tokens = [t for t in tokens if t < self._loaded.special_tokens.timestamp_begin]
        text: str = self._loaded.tokenizer.decode(text_tokens, skip_special_tokens=True)
        return text


def _take_words(words: deque[tuple[Word, int]], n_tokens: int, offset_s: float) -> tuple[Word, ...]:
    """Remove and return the words of the next `n_tokens` text tokens, timed from the recording's start."""
    timed_words = []
    while words and n_tokens > 0:
        word, length = words.popleft()
        n_tokens -= length
        start, end = round(word.start + offset_s, 3), round(word.end + offset_s, 3)
        timed_words.append(replace(word, start=start, end=end))
    return tuple(timed_words)


def _choose_languages(
    window_jobs: Sequence[WindowJob], detected: Sequence[str], no_speech_probs: Sequence[float]
) -> list[str]:
    """Return each window's language: the configured one, else that of the recording's first speech.

    Windows before the first one with speech are decoded in the language detected in themselves.
    """
    chosen: dict[int, str] = {}  # by id of the job
    languages = []
    for window_job, candidate, no_speech in zip(
        window_jobs, detected, no_speech_probs, strict=True
    ):
        job = window_job.job
        language = job.language or chosen.get(id(job))
        if language is None:
            language = candidate
            if no_speech <= SPEECH_THRESHOLD:
                chosen[id(job)] = candidate
        languages.append(language)
    return languages
