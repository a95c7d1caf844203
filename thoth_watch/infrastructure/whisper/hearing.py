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
from thoth_watch.infrastructure.whisper.aligning import words_of
from thoth_watch.infrastructure.whisper.decoding import Opening, ReferenceDecoder, WindowDecoder
from thoth_watch.infrastructure.whisper.fallback import Attempt, decode_until_good
from thoth_watch.infrastructure.whisper.features import log_mels, positions_of
from thoth_watch.infrastructure.whisper.jobs import Heard, Job, Route, WindowedRoute
from thoth_watch.infrastructure.whisper.loading import LoadedWhisper
from thoth_watch.infrastructure.whisper.packed import PackedWhisper
from thoth_watch.infrastructure.whisper.packed_decoding import PackedWindowDecoder
from thoth_watch.infrastructure.whisper.placement import seconds_now
from thoth_watch.infrastructure.whisper.prompts import Prompts
from thoth_watch.infrastructure.whisper.segments import cut_at_timestamps, cut_sequentially
from thoth_watch.infrastructure.whisper.sequential import Seeker, SequentialWindow, go_on
from thoth_watch.infrastructure.whisper.windows import Spans, Window, cut_windows

DECODING_VERSION = 5  # raised when windows, rules or thresholds change the words
SPEECH_THRESHOLD = 0.6  # a window above it does not decide a recording's language
FRAMES_PER_S = 100  # of `seek`


@dataclass(frozen=True, slots=True)
class Piece:
    """A window and the recording that it belongs to."""

    job: Job
    window: Window
    is_first: bool = False


class Ear:
    """Hears windows; those of one call share a forward pass."""

    def __init__(
        self, loaded: LoadedWhisper, *, use_cache: bool, trims: bool, options: DecodingOptions
    ) -> None:
        """trims: the encoder sees no more than a window's sound, if it is a PackedWhisper."""
        self._loaded, self._options = loaded, options
        self.trims = trims and isinstance(loaded.model, PackedWhisper)
        self._decoder: WindowDecoder
        if isinstance(loaded.model, PackedWhisper):
            self._decoder = PackedWindowDecoder(loaded.model, loaded.vocabulary, options=options)
        else:
            self._decoder = ReferenceDecoder(loaded, use_cache=use_cache, options=options)
        config, extractor = loaded.model.config, loaded.extractor
        self._positions: int = config.max_source_positions
        self._prompts = Prompts(
            loaded.tokenizer, loaded.vocabulary, options, positions=config.max_target_positions
        )
        chunk_s = options.chunk_length or loaded.vocabulary.chunk_length or extractor.chunk_length
        self.window_samples: int = min(round(chunk_s * SAMPLE_RATE_HZ), extractor.n_samples)
        # openai/whisper's default where a checkpoint names none: the later half of the layers
        layers, heads = config.decoder_layers, config.decoder_attention_heads
        self._heads = loaded.vocabulary.alignment_heads or tuple(
            (layer, head) for layer in range(layers // 2, layers) for head in range(heads)
        )
        self._step_s = extractor.chunk_length / self._positions  # 0.02

    @property
    def retries_suspects(self) -> bool:
        """Whether what is in doubt is heard once more, the careful way."""
        return self._options.retry_suspect

    def careful_route(self, recording: Recording, spans: Spans) -> Route:
        """The careful way, sequentially, through parts of a recording."""
        samples, speech = recording.samples, recording.speech
        extractor, n_samples = self._loaded.extractor, self.window_samples
        return Seeker(extractor, samples, window_samples=n_samples, spans=spans, speech=speech)

    def route(self, recording: Recording) -> Route:
        """The way through a recording that the options ask for, behind what was heard of it before."""
        samples, speech = recording.samples, recording.speech
        start = recording.partial.n_samples if recording.partial is not None else 0
        if self._options.is_sequential:
            return self.careful_route(recording, ((start, len(samples)),))
        windows = cut_windows(samples, window_samples=self.window_samples, speech=speech)
        return WindowedRoute(windows, n_samples=len(samples), start=start)

    def hear(self, pieces: Sequence[Piece], seconds: EngineSeconds) -> list[Heard]:
        """What was said in each window; adds the time that each stage took to `seconds`.

        Pieces of one recording are in time order. Changes nothing but `seconds`, so that it can be
        called again with fewer windows.
        """
        device = self._loaded.device
        started = seconds_now(device)
        features = self._features([piece.window for piece in pieces])
        extracted = seconds_now(device)
        seconds.features_s += extracted - started
        hidden = self._decoder.encode(features)
        encoded = seconds_now(device)
        seconds.encode_s += encoded - extracted
        opening = self._decoder.open(hidden)
        languages = _languages(pieces, opening.languages, opening.no_speech_probs)
        prompts = [
            self._prompts.before(piece.job, language=language, is_first=piece.is_first)
            for piece, language in zip(pieces, languages, strict=True)
        ]
        attempts = decode_until_good(
            self._decoder,
            hidden,
            opening,
            prompts,
            options=self._options,
            text_of=self._text,
            seeds=[piece.window.start for piece in pieces],
            careful=[piece.job.is_careful for piece in pieces],
        )
        words: list[list[tuple[Word, int]]] = [[] for _ in pieces]
        if self._options.word_timestamps:
            words = self._words(pieces, opening, attempts, languages)
        seconds.generate_s += seconds_now(device) - encoded
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device)
            seconds.peak_gpu_bytes = max(seconds.peak_gpu_bytes, peak)
        return [
            self._heard(piece, attempt, language, said)
            for piece, attempt, language, said in zip(
                pieces, attempts, languages, words, strict=True
            )
        ]

    def _words(
        self,
        pieces: Sequence[Piece],
        opening: Opening,
        attempts: Sequence[Attempt],
        languages: Sequence[str],
    ) -> list[list[tuple[Word, int]]]:
        """The words of each window with their times from its start and their numbers of tokens."""
        v = self._loaded.vocabulary
        rows = [row for row, attempt in enumerate(attempts) if not attempt.is_silence]
        texts = {row: [t for t in attempts[row].decoded.tokens if t < v.end] for row in rows}
        rows = [row for row in rows if texts[row]]
        found: list[list[tuple[Word, int]]] = [[] for _ in pieces]
        if not rows:
            return found
        prompts = [
            [*v.prompt(languages[row], pieces[row].job.recording.task), v.no_timestamps]
            for row in rows
        ]
        looks = self._decoder.look(
            opening, prompts, [texts[row] for row in rows], self._heads, rows=rows
        )
        for row, prompt, look in zip(rows, prompts, looks, strict=True):
            found[row] = words_of(
                look,
                texts[row],
                prompt_length=len(prompt),
                tokenizer=self._loaded.tokenizer,
                vocabulary=v,
                language=languages[row],
                step_s=self._step_s,
                duration_s=pieces[row].window.duration_s,
            )
        return found

    def _features(self, windows: Sequence[Window]) -> Tensor:
        """Log-mels of all windows, float32, shape (n, n_mels, frames)."""
        cut = [w.samples for w in windows if not isinstance(w, SequentialWindow)]
        positions = self._positions
        if self.trims and len(cut) == len(windows):
            positions = positions_of(max(map(len, cut)), most=positions)
        extractor, device = self._loaded.extractor, self._loaded.device
        on = device if device.type == "cuda" else None
        found = iter(log_mels(extractor, cut, positions=positions, device=on) if cut else ())
        return torch.stack(
            [w.features() if isinstance(w, SequentialWindow) else next(found) for w in windows]
        )

    def _heard(
        self,
        piece: Piece,
        attempt: Attempt,
        language: str,
        words: list[tuple[Word, int]],
    ) -> Heard:
        window = piece.window
        is_sequential = isinstance(window, SequentialWindow)
        is_speech = attempt.no_speech_prob <= SPEECH_THRESHOLD
        tokens, duration_s = attempt.decoded.tokens, window.duration_s
        if attempt.is_silence:
            return Heard((), language, is_speech, len(tokens), duration_s)
        begin = self._loaded.vocabulary.timestamp_begin
        how = {"timestamp_begin": begin, "step_s": self._step_s, "window_s": duration_s}
        advance_s = duration_s
        if is_sequential:
            stretches, advance_s = cut_sequentially(tokens, **how)
            speech = piece.job.recording.speech
            if speech is not None and stretches:
                advance_s = go_on(stretches[-1].end, advance_s, window=window, speech=speech)
        else:
            stretches = cut_at_timestamps(tokens, **how)
        segments, end, left = [], self._loaded.vocabulary.end, deque(words)
        for stretch in stretches:
            text = self._text(stretch.tokens)
            said = _take(left, sum(token < end for token in stretch.tokens), window.offset_s)
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
        return Heard(tuple(segments), language, is_speech, len(tokens), advance_s)

    def _text(self, tokens: Sequence[int]) -> str:
        """The words of tokens, without timestamps and other marks."""
        words = [t for t in tokens if t < self._loaded.vocabulary.timestamp_begin]
        text: str = self._loaded.tokenizer.decode(words, skip_special_tokens=True)
        return text


def _take(words: deque[tuple[Word, int]], n_tokens: int, offset_s: float) -> tuple[Word, ...]:
    """The words of the next so many tokens, with their times in the recording."""
    taken = []
    while words and n_tokens > 0:
        word, length = words.popleft()
        n_tokens -= length
        start, end = round(word.start + offset_s, 3), round(word.end + offset_s, 3)
        taken.append(replace(word, start=start, end=end))
    return tuple(taken)


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
            if no_speech <= SPEECH_THRESHOLD:
                decided[id(job)] = detected
        languages.append(language)
    return languages
