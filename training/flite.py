"""In-process flite through ctypes: samples with the start and end of each word."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


class _Wave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class _Voice(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


_POINTER, _STRING, _FLOAT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
_SIGNATURES = {
    "flite_synth_text": (_POINTER, [_STRING, _POINTER]),
    "utt_wave": (_POINTER, [_POINTER]),
    "utt_relation": (_POINTER, [_POINTER, _STRING]),
    "relation_head": (_POINTER, [_POINTER]),
    "item_next": (_POINTER, [_POINTER]),
    "item_as": (_POINTER, [_POINTER, _STRING]),
    "item_parent": (_POINTER, [_POINTER]),
    "item_feat_float": (_FLOAT, [_POINTER, _STRING]),
    "delete_utterance": (None, [_POINTER]),
    "feat_set_float": (ctypes.c_int, [_POINTER, _STRING, _FLOAT]),
}


@dataclass(frozen=True, slots=True)
class FliteSpeech:
    """The output of flite: int16 samples at rate_hz and (start_s, end_s) of each word in order."""

    samples: npt.NDArray[np.int16]
    rate_hz: int
    word_spans_s: list[tuple[float, float]]


class Flite:
    """flite's library and the voices loaded so far."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        for name in ("libflite_usenglish.so.1", "libflite_cmulex.so.1"):
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        self._library.flite_init()
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._voices: dict[str, int] = {}

    def _load(self, voice: str) -> int:
        if voice not in self._voices:
            library = ctypes.CDLL(f"libflite_cmu_us_{voice}.so.1")
            register = getattr(library, f"register_cmu_us_{voice}")
            register.restype, register.argtypes = _POINTER, [_STRING]
            self._voices[voice] = register(None)
        return self._voices[voice]

    def speak(
        self, text: str, *, voice: str, stretch: float = 1.0, pitch_hz: float = 0.0
    ) -> FliteSpeech:
        """Synthesize a text; stretch lengthens it, pitch_hz is the mean pitch (0: the voice's)."""
        handle = self._load(voice)
        features = ctypes.cast(handle, ctypes.POINTER(_Voice)).contents.features
        self._library.feat_set_float(features, b"duration_stretch", stretch)
        if pitch_hz:
            self._library.feat_set_float(features, b"int_f0_target_mean", pitch_hz)
        utterance = self._library.flite_synth_text(text.encode(), handle)
        try:
            wave = ctypes.cast(self._library.utt_wave(utterance), ctypes.POINTER(_Wave)).contents
            samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).copy()
            return FliteSpeech(samples, wave.sample_rate, self._word_spans(utterance))
        finally:
            self._library.delete_utterance(utterance)

    def _word_spans(self, utterance: int) -> list[tuple[float, float]]:
        """Walk the segments; those of one word share a grandparent in SylStructure."""
        library = self._library
        spans: list[tuple[float, float]] = []
        last_word, start_s = None, 0.0
        segment = library.relation_head(library.utt_relation(utterance, b"Segment"))
        while segment:
            end_s = library.item_feat_float(segment, b"end")
            syllable = library.item_as(segment, b"SylStructure")
            for _ in range(2):
                syllable = library.item_parent(syllable) if syllable else None
            if syllable and syllable == last_word:
                spans[-1] = (spans[-1][0], end_s)
            elif syllable:
                spans.append((start_s, end_s))
            last_word, start_s = syllable, end_s
            segment = library.item_next(segment)
        return spans
