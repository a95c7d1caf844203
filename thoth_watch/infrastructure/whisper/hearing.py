"""One forward pass: windows of one or several recordings to what is heard in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from thoth_watch.application.ports import EngineSeconds
from thoth_watch.domain.transcript import Segment
from thoth_watch.infrastructure.whisper.decoding import Decoded, WindowDecoder
from thoth_watch.infrastructure.whisper.features import log_mels, positions_of
from thoth_watch.infrastructure.whisper.jobs import Heard, Job
from thoth_watch.infrastructure.whisper.loading import LoadedWhisper
from thoth_watch.infrastructure.whisper.packed import PackedWhisper
from thoth_watch.infrastructure.whisper.packed_decoding import PackedWindowDecoder
from thoth_watch.infrastructure.whisper.placement import seconds_now
from thoth_watch.infrastructure.whisper.segments import compression_ratio, cut_at_timestamps
from thoth_watch.infrastructure.whisper.windows import Window

DECODING_VERSION = 1  # raised when windows, rules or thresholds change the words
NO_SPEECH_THRESHOLD = 0.6  # whisper's: above it, and
LOGPROB_THRESHOLD = -1.0  # below it, a window is taken for silence
FRAMES_PER_S = 100  # of `seek`


@dataclass(frozen=True, slots=True)
class Piece:
    """A window and the recording that it belongs to."""

    job: Job
    window: Window


class Ear:
    """Hears windows; those of one call share a forward pass."""

    def __init__(self, loaded: LoadedWhisper, *, use_cache: bool, trims: bool) -> None:
        """trims: the encoder sees no more than a window's sound, if it is a PackedWhisper."""
        self._loaded = loaded
        self.trims = trims and isinstance(loaded.model, PackedWhisper)
        self._decoder: WindowDecoder | PackedWindowDecoder
        if isinstance(loaded.model, PackedWhisper):
            self._decoder = PackedWindowDecoder(loaded.model, loaded.vocabulary)
        else:
            self._decoder = WindowDecoder(loaded, use_cache=use_cache)
        extractor = loaded.extractor
        self._positions = positions = loaded.model.config.max_source_positions
        self.window_samples: int = extractor.n_samples  # 480_000
        self._step_s = extractor.chunk_length / positions  # 0.02

    def hear(self, pieces: Sequence[Piece], seconds: EngineSeconds) -> list[Heard]:
        """What was said in each window; adds the time that each stage took to `seconds`.

        Pieces of one recording are in time order. Changes nothing but `seconds`, so that it can be
        called again with fewer windows.
        """
        device, vocabulary = self._loaded.device, self._loaded.vocabulary
        started = seconds_now(device)
        samples = [p.window.samples for p in pieces]
        positions = self._positions
        if self.trims:
            positions = positions_of(max(map(len, samples)), most=positions)
        features = log_mels(self._loaded.extractor, samples, positions=positions)
        extracted = seconds_now(device)
        seconds.features_s += extracted - started
        hidden = self._decoder.encode(features)
        encoded = seconds_now(device)
        seconds.encode_s += encoded - extracted
        opening = self._decoder.open(hidden)
        languages = _languages(pieces, opening.languages, opening.no_speech_probs)
        prompts = [
            vocabulary.prompt(language, piece.job.recording.task)
            for piece, language in zip(pieces, languages, strict=True)
        ]
        decoded = self._decoder.generate(hidden, opening, prompts)
        seconds.generate_s += seconds_now(device) - encoded
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device)
            seconds.peak_gpu_bytes = max(seconds.peak_gpu_bytes, peak)
        return [
            self._heard(piece.window, result, language, no_speech)
            for piece, result, language, no_speech in zip(
                pieces, decoded, languages, opening.no_speech_probs, strict=True
            )
        ]

    def _heard(
        self, window: Window, decoded: Decoded, language: str, no_speech_prob: float
    ) -> Heard:
        is_speech = no_speech_prob <= NO_SPEECH_THRESHOLD
        if not is_speech and decoded.avg_logprob < LOGPROB_THRESHOLD:
            return Heard((), language, is_speech, len(decoded.tokens))
        ratio = compression_ratio(self._text(decoded.tokens).strip())
        segments = []
        for stretch in cut_at_timestamps(
            decoded.tokens,
            timestamp_begin=self._loaded.vocabulary.timestamp_begin,
            step_s=self._step_s,
            window_s=window.duration_s,
        ):
            text = self._text(stretch.tokens)
            if text.strip():
                segments.append(
                    Segment(
                        start=round(window.offset_s + stretch.start, 3),
                        end=round(window.offset_s + stretch.end, 3),
                        text=text,
                        tokens=stretch.tokens,
                        avg_logprob=decoded.avg_logprob,
                        compression_ratio=ratio,
                        no_speech_prob=no_speech_prob,
                        seek=round(window.offset_s * FRAMES_PER_S),
                    )
                )
        return Heard(tuple(segments), language, is_speech, len(decoded.tokens))

    def _text(self, tokens: Sequence[int]) -> str:
        """The words of tokens, without timestamps and other marks."""
        words = [t for t in tokens if t < self._loaded.vocabulary.timestamp_begin]
        text: str = self._loaded.tokenizer.decode(words, skip_special_tokens=True)
        return text


def _languages(
    pieces: Sequence[Piece], likely: Sequence[str], no_speech_probs: Sequence[float]
) -> list[str]:
    """Each window's language: given, else that of its recording's first window with speech.

    A window before that one is decoded in its own most likely language.
    """
    decided: dict[int, str] = {}
    languages = []
    for piece, detected, no_speech in zip(pieces, likely, no_speech_probs, strict=True):
        job = piece.job
        language = job.language or decided.get(id(job))
        if language is None:
            language = detected
            if no_speech <= NO_SPEECH_THRESHOLD:
                decided[id(job)] = detected
        languages.append(language)
    return languages
