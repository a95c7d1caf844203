"""A fake pyannote.audio 4 with the documented part of its interface and no networks.

Its pipeline assigns each second of audio to a speaker by loudness.
"""

from __future__ import annotations

from pathlib import Path

SOURCE = """
import os
from collections import namedtuple
from pathlib import Path

import torch

Span = namedtuple("Span", "start end")
TELEMETRY = os.environ.get("PYANNOTE_METRICS_ENABLED", "true")


class Annotation:
    def __init__(self, turns):
        self.turns = turns

    def __bool__(self):
        return bool(self.turns)

    def itertracks(self, yield_label=False):
        for number, (start, end, label) in enumerate(self.turns):
            yield (Span(start, end), number, label) if yield_label else (Span(start, end), number)


Output = namedtuple("Output", "speaker_diarization exclusive_speaker_diarization")


class Pipeline:
    calls = []

    @classmethod
    def from_pretrained(cls, checkpoint, revision=None, token=None):
        if not Path(checkpoint, "config.yaml").is_file():
            print("Could not download Pipeline. It might be private or gated")
            raise OSError(f"403 Client Error.\\nCannot access gated repo for {checkpoint}")
        return cls(Path(checkpoint, "config.yaml").read_text())

    def __init__(self, config):
        self.config = config

    def to(self, device):
        if device.type != "cpu":
            raise RuntimeError(f"no device {device}")
        return self

    def __call__(self, file, *, min_speakers=None, max_speakers=None):
        self.calls.append((min_speakers, max_speakers))
        waveform, rate = file["waveform"], file["sample_rate"]
        assert waveform.shape[0] == 1 and waveform.dtype == torch.float32 and rate == 16000
        if "broken" in self.config:
            raise RuntimeError("no clusters")
        seconds = [second.abs().mean().item() for second in waveform[0].split(rate)]
        turns = [
            (float(at), at + 1.0, f"SPEAKER_{int(loud > 0.15):02d}")
            for at, loud in enumerate(seconds)
            if loud > 0.01
        ]
        if "legacy" in self.config:
            return Annotation(turns)
        return Output(Annotation([(0.0, len(seconds), "OVERLAPPING")]), Annotation(turns))
"""


def install(folder: Path) -> Path:
    """Write the package into a folder and return the folder, which the caller adds to sys.path."""
    package, metadata = folder / "pyannote/audio", folder / "pyannote_audio-4.0.7.dist-info"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(SOURCE)
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: pyannote.audio\nVersion: 4.0.7\n"
    )
    return folder


def make_pipeline(folder: Path, kind: str = "") -> Path:
    """Write a folder that loads as a pipeline; kind: empty, `legacy` or `broken`."""
    folder.mkdir()
    (folder / "config.yaml").write_text(f"pipeline: {kind}\n")
    return folder
