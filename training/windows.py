"""Packs augmented utterances into windows with all labels for training."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.augment import Augmenter, Speaker, Spoken
from training.corpus import Corpus, Recording, Span
from training.grammar import FREE_WORDS, WORDS
from training.mel import N_MELS, FloatArray
from training.tokens import TokenIds

IGNORE = -100
SOURCE_SHARES = {"espeak": 0.55, "flite": 0.45}
LONE_WORD_SHARE = 0.5  # of the windows with one utterance
CLOSE_CUT_SHARE = 0.35  # of the utterances
# [sot, en, transcribe] with and without timestamps, then [sot] only, like faster-whisper's prompt.
PROMPTS = {"timestamps": 0.45, "plain": 0.22, "bare timestamps": 0.20, "bare plain": 0.13}
IntArray = npt.NDArray[np.int64]
_LONE_WORDS = frozenset(FREE_WORDS)


@dataclass(slots=True)
class Labels:
    """Tokens of one window; spans are the frames that each token should attend to."""

    tokens: list[int]
    spans: list[Span]
    loss_weight: list[float]

    def add(self, token: int, span: Span = (0, 0), *, loss_weight: bool = True) -> None:
        """Append one token."""
        self.tokens.append(token)
        self.spans.append(span)
        self.loss_weight.append(float(loss_weight))


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of one length.

    mel: (batch, 80, 2 * frames). phonemes, words, halves: (batch, frames), -100 is unknown.
    tokens, loss_weight: (batch, n). spans: (batch, n, 2) in frames.
    """

    mel: FloatArray
    phonemes: IntArray
    words: IntArray
    halves: IntArray
    tokens: IntArray
    loss_weight: FloatArray
    spans: IntArray


class WindowMaker:
    """Draws windows from a corpus; its state is that of two seeded generators."""

    def __init__(self, corpus: Corpus, ids: TokenIds, seed: int) -> None:
        self._corpus = corpus
        self._ids = ids
        self._word_labels = {word: label for label, word in enumerate(WORDS, start=1)}
        self._draw = random.Random(seed)
        self._rng = np.random.default_rng(seed)
        self._augmenter = Augmenter(self._rng)
        self._shares = {k: v for k, v in SOURCE_SHARES.items() if corpus.recordings[k]}

    def batch(self, size: int, frames: int, *, strength: float, single: float) -> Batch:
        """Draw `size` windows of `frames` 20 ms frames.

        strength: share of windows with full augmentation. single: share with one utterance only.
        """
        windows = [self._window(frames, strength, single) for _ in range(size)]
        longest = max(len(labels.tokens) for *_, labels in windows)
        tokens = np.full((size, longest), self._ids.end)
        loss_weight = np.zeros((size, longest), np.float32)
        spans = np.zeros((size, longest, 2), np.int64)
        for row, (*_, labels) in enumerate(windows):
            count = len(labels.tokens)
            tokens[row, :count], loss_weight[row, :count] = labels.tokens, labels.loss_weight
            spans[row, :count] = labels.spans
        mel, phonemes, words, halves, _ = zip(*windows, strict=True)
        stacked = (np.stack(mel), np.stack(phonemes), np.stack(words), np.stack(halves))
        return Batch(*stacked, tokens, loss_weight, spans)

    def _pick(self) -> Recording:
        kind = self._draw.choices(list(self._shares), list(self._shares.values()))[0]
        return self._draw.choice(self._corpus.recordings[kind])

    def _pick_word(self) -> Recording:
        """Pick a word spoken alone, or cut one out of fluent speech."""
        recording = self._pick()
        while self._draw.random() < 0.7 and " " in recording.text:
            recording = self._pick()
        texts = recording.text.split()
        candidates = [index for index, text in enumerate(texts) if text in _LONE_WORDS]
        if len(texts) == 1 or not candidates:
            return recording
        index = self._draw.choice(candidates)
        start, end = recording.spans[index]
        return Recording(
            texts[index],
            recording.voice,
            recording.log_mel[2 * start : 2 * end],
            recording.phonemes[start:end],
            [(0, end - start)],
        )

    def _speak(self, recording: Recording, speaker: Speaker) -> Spoken:
        """Apply a speaker, and sometimes cut off the silence around the words."""
        utterance = self._augmenter.speak(recording, speaker)
        if self._draw.random() >= CLOSE_CUT_SHARE:
            return utterance
        start = max(0, utterance.spans[0][0] - self._draw.randint(0, 3))
        end = min(len(utterance.phonemes), utterance.spans[-1][1] + self._draw.randint(0, 3))
        spans = [(a - start, b - start) for a, b in utterance.spans]
        return Spoken(
            utterance.text,
            utterance.power[2 * start : 2 * end],
            utterance.phonemes[start:end],
            spans,
        )

    def _window(
        self, frames: int, strength: float, single: float
    ) -> tuple[FloatArray, IntArray, IntArray, IntArray, Labels]:
        draw = self._draw
        strong = draw.random() < strength
        power = np.zeros((2 * frames, N_MELS), np.float32)
        phonemes = np.zeros(frames, np.int64)
        words, halves = np.zeros(frames, np.int64), np.zeros(frames, np.int64)
        prompt = draw.choices(list(PROMPTS), list(PROMPTS.values()))[0]
        spoken: list[tuple[int, Spoken]] = []
        cut_at = None
        if draw.random() < 0.05:
            end = self._fill_without_speech(power)
        else:
            max_utterances = 1 if draw.random() < single else 99
            goal = frames if draw.random() < 0.6 else draw.randint(frames // 6, frames)
            spoken, end, cut_at = self._fill(
                power, phonemes, strong, max_utterances, goal, cut="timestamps" in prompt
            )
        for start, utterance in spoken:
            for word, (a, b) in zip(utterance.text.split(), utterance.spans, strict=True):
                middle = (start + a + start + b + 1) // 2
                words[start + a : start + b] = self._word_labels[word]
                halves[start + a : middle], halves[middle : start + b] = 1, 2
        if cut_at is not None:
            words[cut_at:] = halves[cut_at:] = IGNORE
        self._degrade(power[: 2 * end], strong=strong, speech=bool(spoken) or cut_at is not None)
        log_mel = np.log10(np.maximum(power, 1e-10))
        log_mel = (np.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0
        labels = self._labels(spoken, cut_at, prompt)
        return np.ascontiguousarray(log_mel.T), phonemes, words, halves, labels

    def _fill_without_speech(self, power: FloatArray) -> int:
        """Leave the window silent or add clips without speech; return the end of the audio."""
        frames = len(power) // 2
        clips = self._corpus.recordings["noise"]
        if clips and self._draw.random() < 0.7:
            at = 0
            while at < 2 * frames:
                clip = self._draw.choice(clips)
                speaker = self._augmenter.draw_speaker(strong=self._draw.random() < 0.5)
                part = self._augmenter.speak(clip, speaker).power[: 2 * frames - at]
                power[at : at + len(part)] = part
                at += len(part)
                if self._draw.random() < 0.5:
                    break
            return min(frames, at // 2)
        return self._draw.choice([0, frames, self._draw.randint(0, frames)])

    def _fill(
        self,
        power: FloatArray,
        phonemes: IntArray,
        strong: bool,
        max_utterances: int,
        goal: int,
        *,
        cut: bool,
    ) -> tuple[list[tuple[int, Spoken]], int, int | None]:
        """Place utterances until `max_utterances` or `goal` is reached.

        Returns the utterances with their starts, the end of the audio, and the start of speech that
        the window's end cuts off (its start is a label, its text is not).
        """
        draw, frames = self._draw, len(phonemes)
        style = draw.random()
        at = 0 if style < 0.3 else int(draw.expovariate(1 / 12))
        if style > 0.92:
            at = draw.randint(0, frames // 2)
        spoken: list[tuple[int, Spoken]] = []
        alone = max_utterances == 1 and draw.random() < LONE_WORD_SHARE
        recording, tries = self._pick_word() if alone else self._pick(), 0
        speaker = self._augmenter.draw_speaker(strong=strong)
        while len(spoken) < max_utterances and at < goal:
            utterance = self._speak(recording, speaker)
            length = len(utterance.phonemes)
            if at + length > frames:
                if not spoken and tries < 10:
                    tries, at, recording = tries + 1, 0, self._pick()
                    continue
                lead = utterance.spans[0][0]
                if cut and spoken and draw.random() < 0.6 and frames - at - lead > 15:
                    power[2 * at :] = utterance.power[: 2 * (frames - at)]
                    phonemes[at:] = utterance.phonemes[: frames - at]
                    return spoken, frames, at + lead
                break
            power[2 * at : 2 * (at + length)] = utterance.power
            phonemes[at : at + length] = utterance.phonemes
            spoken.append((at, utterance))
            gap = draw.expovariate(1 / 18) if draw.random() < 0.8 else draw.uniform(0, 120)
            at += length + int(gap)
            if draw.random() < 0.5:
                recording = self._pick()
                speaker = self._augmenter.draw_speaker(strong=strong)
            else:
                recording = draw.choice(self._corpus.by_voice[recording.voice])
        tail = int(draw.expovariate(1 / 10))
        return spoken, frames if draw.random() < 0.2 else min(frames, at + tail), None

    def _degrade(self, power: FloatArray, *, strong: bool, speech: bool) -> None:
        """Add noise, other voices, a telephone band and masks to the audio, in place."""
        if not len(power):
            return
        draw, augmenter = self._draw, self._augmenter
        level = float(np.percentile(power.sum(1), 90)) / N_MELS + 1e-9
        if not speech and level < 1e-8:
            level = 10 ** draw.uniform(-6, 0)
        if draw.random() < 0.85:
            augmenter.add_noise(power, level, strong=strong)
        if not strong:
            return
        clips = self._corpus.recordings["noise"]
        if speech and draw.random() < 0.2:
            other = draw.choice(clips) if clips and draw.random() < 0.5 else self._pick()
            babble = augmenter.speak(other, augmenter.draw_speaker(strong=True)).power
            start = draw.randrange(len(power))
            babble = babble[: len(power) - start]
            loudness = float(np.percentile(babble.sum(1), 90)) / N_MELS + 1e-9
            gain = level / loudness * 10 ** (-draw.uniform(13, 30) / 10)
            power[start : start + len(babble)] += np.float32(gain) * babble
        if draw.random() < 0.5:
            augmenter.limit_band(power)
        if draw.random() < 0.8:
            augmenter.mask(power)

    def _labels(self, spoken: list[tuple[int, Spoken]], cut_at: int | None, prompt: str) -> Labels:
        """Return the prompt and the tokens of a window, as in Whisper's own training."""
        ids, labels, draw = self._ids, Labels([], [], []), self._draw
        timestamps, bare = "timestamps" in prompt, prompt.startswith("bare")
        if draw.random() < 0.15:
            labels.add(ids.previous, loss_weight=False)
            for tokens in self._ids.spell(self._pick().text)[:12]:
                for token in tokens:
                    labels.add(token, loss_weight=False)
        labels.add(ids.start, loss_weight=False)
        if not spoken and cut_at is None and draw.random() < 0.5:
            labels.add(ids.no_speech)
            labels.add(ids.end)
            return labels
        if not bare:
            labels.add(ids.english)
            labels.add(ids.transcribe)
        if not timestamps:
            labels.add(ids.no_timestamps, loss_weight=not bare)
        for start, utterance in spoken:
            first, last = start + utterance.spans[0][0], start + utterance.spans[-1][1]
            if timestamps:
                labels.add(ids.timestamp_zero + first, (first - 2, first + 4))
            for tokens, (a, b) in zip(
                self._ids.spell(utterance.text), utterance.spans, strict=True
            ):
                for token in tokens:
                    labels.add(token, (start + a, start + b))
            if timestamps:
                labels.add(ids.timestamp_zero + last, (last - 4, last + 2))
        if timestamps and cut_at is not None:
            labels.add(ids.timestamp_zero + cut_at, (cut_at - 2, cut_at + 4))
        if timestamps and not spoken and cut_at is None:
            labels.add(ids.timestamp_zero)
        labels.add(ids.end)
        return labels

    def state(self) -> tuple[Any, Any]:
        """Return the generators' states for a checkpoint."""
        return self._draw.getstate(), self._rng.bit_generator.state

    def restore(self, state: tuple[Any, Any]) -> None:
        """Restore the generators from a checkpoint's states."""
        self._draw.setstate(state[0])
        self._rng.bit_generator.state = state[1]
