"""Voice activity detection with silero-vad's weights, on the CPU: a `VoiceActivityDetector`."""

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

# (threshold, neg_threshold): the probability at which speech begins, and below which it ends
THRESHOLDS = {
    Vad.ON: (0.5, 0.35),  # silero's defaults
    Vad.AUTO: (
        0.15,
        0.1,
    ),  # still rejects 98 % of 1381 s of noises and tones; silero's defaults: 99 %
}
BLOCK_FRAMES = 512  # frames in memory at once: 16.4 s


class SileroVoiceActivity:
    """Detects speech; callable from any thread, for one recording at a time."""

    def __init__(self) -> None:
        """Load the weights, 2 MB. Raises ModuleNotFoundError if the package is missing."""
        spec = importlib.util.find_spec("silero_vad")  # does not import the package
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("silero-vad is not installed: pip install silero-vad")
        # not silero_vad_16k.safetensors, which contains the weights of an older version
        with warnings.catch_warnings():
            # torch.jit.load is deprecated, but the weights have no other format
            warnings.simplefilter("ignore", DeprecationWarning)
            model = torch.jit.load(Path(spec.origin).parent / "data" / "silero_vad.jit")
        self._network = SileroNetwork(model._model.state_dict())  # noqa: SLF001 - for 16 kHz

    def detect(self, samples: Any, *, vad: Vad) -> SpeechSpans:
        """Return the spans of speech in seconds, in time order; a memory map is read block by block."""
        threshold, neg_threshold = THRESHOLDS[vad]
        return find_speech_spans(
            self.probabilities(samples),
            frame_s=FRAME / SAMPLE_RATE_HZ,
            duration_s=len(samples) / SAMPLE_RATE_HZ,
            threshold=threshold,
            neg_threshold=neg_threshold,
        )

    def probabilities(self, samples: Any) -> FloatArray:
        """Return the probability of speech in each frame of 32 ms; the last one is padded with silence."""
        probabilities, state = [np.zeros(0, np.float32)], None
        with torch.inference_mode():
            for frames in _frame_blocks(samples):
                block, state = self._network(torch.from_numpy(frames), state)
                probabilities.append(block.numpy())
        return np.concatenate(probabilities)


def _frame_blocks(samples: Any) -> Iterator[FloatArray]:
    """Yield up to BLOCK_FRAMES frames at a time, shape (n, CONTEXT + FRAME)."""
    context = np.zeros(CONTEXT, np.float32)
    step = BLOCK_FRAMES * FRAME
    for start in range(0, len(samples), step):
        block = np.asarray(samples[start : start + step], np.float32)
        padded = np.concatenate((context, block, np.zeros(-len(block) % FRAME, np.float32)))
        context = padded[-CONTEXT:]
        yield np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME].copy()
