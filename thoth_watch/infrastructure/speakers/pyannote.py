"""The `SpeakerDiarization` port by a pipeline of pyannote.audio.

The package reports each use to its makers unless it is told not to: that is switched off here. It
unpickles its models, so that only a pipeline that the configuration asks for is ever loaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import logging
import os
import warnings
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.errors import ConfigError, DiarizationFailed
from thoth_watch.domain.speakers import DiarizationConfig, Turn

log = logging.getLogger(__name__)

PACKAGE = "pyannote.audio"
CONFIG = "config.yaml"  # of a pipeline


def require_package() -> None:
    """Raise ConfigError where pyannote.audio is not installed; imports nothing of it."""
    try:
        found = importlib.util.find_spec(PACKAGE)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise ConfigError(
            f"diarize: needs {PACKAGE}, which is not installed: pip install 'thoth-watch[diarize]'"
        )


class PyannoteDiarization:
    """Tells speakers apart; one recording after the other, from any thread."""

    def __init__(self, config: DiarizationConfig, *, device: str = "auto") -> None:
        """Load the pipeline. Raises ConfigError where the package or the pipeline cannot be had.

        device: auto is the GPU where there is one; the CPU stands in for one that is not there.
        """
        require_package()
        self._config = config
        self._pipeline = _load(config)
        _move_to_device(self._pipeline, device)
        self._name = f"{config.model}@{_revision(config)} ({PACKAGE} {version(PACKAGE)})"

    @property
    def name(self) -> str:
        """Model, its revision, and the library."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """16 hex digits."""
        asked = f"{self._name} {self._config.min_speakers} {self._config.max_speakers}"
        return hashlib.sha256(asked.encode()).hexdigest()[:16]

    def diarize(self, samples: Any) -> tuple[Turn, ...]:
        """Who speaks when, in time order; one speaker at a time, where the pipeline says that.

        samples are copied: 230 MB an hour. Raises SpeakersUnknown.
        """
        if not len(samples):
            return ()
        waveform = torch.from_numpy(np.array(samples, np.float32)).unsqueeze(0)
        file = {"waveform": waveform, "sample_rate": SAMPLE_RATE_HZ, "uri": "recording"}
        bounds = {
            "min_speakers": self._config.min_speakers,
            "max_speakers": self._config.max_speakers,
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of short recordings and of speakers out of bounds
                found = self._pipeline(file, **{k: n for k, n in bounds.items() if n is not None})
        except Exception as error:
            raise DiarizationFailed(
                f"speakers could not be told apart: {type(error).__name__}: {error}"
            ) from error
        # pipelines made before 4.0 give the annotation itself
        annotation = getattr(found, "exclusive_speaker_diarization", found)
        turns = [
            Turn(round(span.start, 3), round(span.end, 3), str(speaker))
            for span, _, speaker in annotation.itertracks(yield_label=True)
        ]
        return tuple(sorted(turns, key=lambda turn: turn.start))


def _load(config: DiarizationConfig) -> Any:
    os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")
    try:
        # it warns that it cannot decode files, which it need not, and prints how to get a gated model
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            from pyannote.audio import Pipeline

            pipeline = Pipeline.from_pretrained(config.model, revision=config.revision)
    except Exception as error:
        said = next(iter(str(error).strip().splitlines()), "")
        what = f"cannot be loaded ({type(error).__name__}: {said})"
        raise ConfigError(f"diarize.model {config.model}: {what}; {_hint(config)}") from error
    if pipeline is None:
        raise ConfigError(f"diarize.model {config.model}: cannot be had; {_hint(config)}")
    return pipeline


def _move_to_device(pipeline: Any, device: str) -> None:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        pipeline.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:  # torch's, for a device that is not there
        log.warning(
            "speakers are told apart on the CPU",
            extra={"event": "fallback", "asked": device, "why": str(error)},
        )
        pipeline.to(torch.device("cpu"))


def _hint(config: DiarizationConfig) -> str:
    if _is_folder(config.model):
        return f"it must be a folder with a pipeline of {PACKAGE}: {CONFIG} and all that it names"
    return (
        f"accept its conditions at https://huggingface.co/{config.model} and set HF_TOKEN, "
        "or name a folder that holds it"
    )


def _is_folder(model: str) -> bool:
    return Path(model).is_absolute()


def _revision(config: DiarizationConfig) -> str:
    """The hub's commit, or of a folder a hash of what it holds."""
    if not _is_folder(config.model):
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(config.model, CONFIG, revision=config.revision)
        return Path(cached).parent.name if isinstance(cached, str) else config.revision or "main"
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(config.model).rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:16]}"
