"""In-process espeak-ng through ctypes: samples with the times of words and phonemes."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

SYNCHRONOUS = 2
PHONEME_EVENTS_AND_DONT_EXIT = 0x8001
_WORD, _PHONEME, _END_OF_LIST = 1, 7, 0
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7
_CHARS_UTF8 = 1
_DATA_DIRS = (
    "/usr/lib/x86_64-linux-gnu/espeak-ng-data",
    "/usr/lib/aarch64-linux-gnu/espeak-ng-data",
    "/usr/share/espeak-ng-data",
)


class EspeakVoiceError(ValueError):
    """espeak-ng has no voice of this name."""


class _EventId(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True, slots=True)
class EspeakSpeech:
    """The output of one call of espeak-ng.

    samples: int16, shape (n_samples,), at rate_hz.
    words: (sample, character position in the text) of each word's start.
    phonemes: (sample, espeak's name) of each phoneme's start; pauses begin with "_".
    """

    samples: npt.NDArray[np.int16]
    rate_hz: int
    words: list[tuple[int, int]]
    phonemes: list[tuple[int, str]]


def variant_names() -> list[str]:
    """List the variant files (f1, m3, klatt, ...) of the installed espeak-ng, sorted."""
    candidates = [os.environ.get("ESPEAK_DATA_PATH", ""), *_DATA_DIRS]
    for folder in candidates:
        variants = Path(folder) / "voices" / "!v"
        if folder and variants.is_dir():
            return sorted(entry.name for entry in variants.iterdir())
    raise FileNotFoundError("no espeak-ng data folder found; install espeak-ng")


class Espeak:
    """The espeak-ng library; use one per process, because it keeps its state in globals."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self.rate_hz: int = self._library.espeak_Initialize(
            SYNCHRONOUS, 0, None, PHONEME_EVENTS_AND_DONT_EXIT
        )
        if self.rate_hz <= 0:
            raise OSError("espeak-ng did not start; check that espeak-ng-data is installed")
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._words: list[tuple[int, int]] = []
        self._phonemes: list[tuple[int, str]] = []
        self._callback = _Callback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)
        self._voice = ""

    def _collect(self, samples, count, events) -> int:  # type: ignore[no-untyped-def]
        if count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _END_OF_LIST:
            event = events[index]
            if event.type == _WORD:
                self._words.append((event.sample, event.text_position - 1))
            elif event.type == _PHONEME:
                name = event.id.string.decode("utf8", "replace")
                self._phonemes.append((event.sample, name))
            index += 1
        return 0

    def speak(
        self,
        text: str,
        *,
        voice: str,
        rate_wpm: int = 175,
        pitch: int = 50,
        pitch_range: int = 50,
        word_gap: int = 0,
    ) -> EspeakSpeech:
        """Synthesize a text; pitch and pitch_range are espeak's 0..99, word_gap is in units of 10 ms.

        Raises EspeakVoiceError if the voice does not exist.
        """
        if voice != self._voice:
            if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise EspeakVoiceError(voice)
            self._voice = voice
        settings = {
            _RATE: rate_wpm,
            _VOLUME: 100,
            _PITCH: pitch,
            _RANGE: pitch_range,
            _WORD_GAP: word_gap,
        }
        for parameter, value in settings.items():
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks, self._words, self._phonemes = [], [], []
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
        return EspeakSpeech(samples, self.rate_hz, self._words, self._phonemes)
