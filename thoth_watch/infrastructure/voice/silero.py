"""The `VoiceActivityDetector` port by silero-vad's weights, on the CPU."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.speech import SpeechSpans, Vad
from thoth_watch.infrastructure.voice.network import CONTEXT, FRAME, SileroNetwork
from thoth_watch.infrastructure.voice.speech_spans import find_speech_spans

FloatArray = npt.NDArray[np.float32]

THRESHOLDS = {  # the probability at which speech begins, and below which it ends
    Vad.ON: (0.5, 0.35),  # silero's own
    Vad.AUTO: (0.15, 0.1),  # of 1381 s of noises and tones, 98 % lie below, against 99 % above
}
BLOCK_FRAMES = 512  # 16.4 s: so much of a recording is in memory at once


class SileroVoiceActivity:
    """Finds speech; one recording after the other, from any thread."""

    def __init__(self) -> None:
        """Read the weights, 2 MB. Raises ModuleNotFoundError where the package is missing."""
        found = importlib.util.find_spec("silero_vad")  # finds, and does not import
        if found is None or found.origin is None:
            raise ModuleNotFoundError("silero-vad is not installed: pip install silero-vad")
        # not silero_vad_16k.safetensors, which holds the weights of an older version
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there is no other form of them
            model = torch.jit.load(Path(found.origin).parent / "data" / "silero_vad.jit")
        self._network = SileroNetwork(model._model.state_dict())  # noqa: SLF001 - for 16 kHz

    def detect(self, samples: Any, *, vad: Vad) -> SpeechSpans:
        """The stretches of speech in seconds, in time order; a memory map is read block by block."""
        threshold, neg_threshold = THRESHOLDS[vad]
        return find_speech_spans(
            self.probabilities(samples),
            frame_s=FRAME / SAMPLE_RATE_HZ,
            duration_s=len(samples) / SAMPLE_RATE_HZ,
            threshold=threshold,
            neg_threshold=neg_threshold,
        )

    def probabilities(self, samples: Any) -> FloatArray:
        """The probability of speech in each frame of 32 ms; the last frame is padded with silence."""
        found, state = [np.zeros(0, np.float32)], None
        with torch.inference_mode():
            for frames in _blocks(samples):
                some, state = self._network(torch.from_numpy(frames), state)
                found.append(some.numpy())
        return np.concatenate(found)


def _blocks(samples: Any) -> Iterator[FloatArray]:
    """Frames with the end of the frame before each, BLOCK_FRAMES at a time."""
    before = np.zeros(CONTEXT, np.float32)
    step = BLOCK_FRAMES * FRAME
    for start in range(0, len(samples), step):
        some = np.asarray(samples[start : start + step], np.float32)
        padded = np.concatenate((before, some, np.zeros(-len(some) % FRAME, np.float32)))
        before = padded[-CONTEXT:]
        yield np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME].copy()
