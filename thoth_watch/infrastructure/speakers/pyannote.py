"""Speaker diarization with a pipeline of pyannote.audio: a `SpeakerDiarization`.

The package's telemetry is on by default and is disabled here. The package unpickles its models,
which can run code, so only the configured pipeline is ever loaded.
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
CONFIG = "config.yaml"  # a pipeline's configuration file


def require_package() -> None:
    """Raise ConfigError if pyannote.audio is not installed; does not import it."""
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        raise ConfigError(
            f"diarize: needs {PACKAGE}, which is not installed: pip install 'thoth-watch[diarize]'"
        )


class PyannoteDiarization:
    """Diarizes recordings; callable from any thread, for one recording at a time."""

    def __init__(self, config: DiarizationConfig, *, device: str = "auto") -> None:
        """Load the pipeline. Raises ConfigError if the package or the pipeline is unavailable.

        device: auto is the GPU if there is one; an unavailable device falls back to the CPU.
        """
        require_package()
        self._config = config
        self._pipeline = _load(config)
        _move_to_device(self._pipeline, device)
        self._name = f"{config.model}@{_revision(config)} ({PACKAGE} {version(PACKAGE)})"

    @property
    def name(self) -> str:
        """Return the model, its revision and the library with its version."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Return a hash of `name` and the bounds on the number of speakers, 16 hex digits."""
        text = f"{self._name} {self._config.min_speakers} {self._config.max_speakers}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def diarize(self, samples: Any) -> tuple[Turn, ...]:
        """Return the speaker turns in time order, without overlaps if the pipeline provides such turns.

        samples: copied, 230 MB per hour of audio. Raises DiarizationFailed.
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
                warnings.simplefilter("ignore")  # about short recordings and speaker bounds not met
                output = self._pipeline(file, **{k: n for k, n in bounds.items() if n is not None})
        except Exception as error:
            raise DiarizationFailed(
                f"diarization failed: {type(error).__name__}: {error}"
            ) from error
        # pipelines before version 4.0 return the annotation itself
        annotation = getattr(output, "exclusive_speaker_diarization", output)
        turns = [
            Turn(round(span.start, 3), round(span.end, 3), str(speaker))
            for span, _, speaker in annotation.itertracks(yield_label=True)
        ]
        return tuple(sorted(turns, key=lambda turn: turn.start))


def _load(config: DiarizationConfig) -> Any:
    os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")
    try:
        # it warns about missing audio decoding, which is not used, and prints help on gated models
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            from pyannote.audio import Pipeline

            pipeline = Pipeline.from_pretrained(config.model, revision=config.revision)
    except Exception as error:
        cause = next(iter(str(error).strip().splitlines()), "")
        problem = f"cannot be loaded ({type(error).__name__}: {cause})"
        raise ConfigError(f"diarize.model {config.model}: {problem}; {_hint(config)}") from error
    if pipeline is None:
        raise ConfigError(f"diarize.model {config.model}: unavailable; {_hint(config)}")
    return pipeline


def _move_to_device(pipeline: Any, device: str) -> None:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        pipeline.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:  # torch raises these for a missing device
        log.warning(
            "requested device unavailable; diarization falls back to the CPU",
            extra={"event": "fallback", "asked": device, "why": str(error)},
        )
        pipeline.to(torch.device("cpu"))


def _hint(config: DiarizationConfig) -> str:
    if _is_folder(config.model):
        return f"it must be a folder with a pipeline of {PACKAGE}: {CONFIG} and all files that it names"
    return (
        f"accept its conditions at https://huggingface.co/{config.model} and set HF_TOKEN, "
        "or set a local folder that contains the pipeline"
    )


def _is_folder(model: str) -> bool:
    return Path(model).is_absolute()


def _revision(config: DiarizationConfig) -> str:
    """Return the hub's commit, or a hash of a local folder's files."""
    if not _is_folder(config.model):
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(config.model, CONFIG, revision=config.revision)
        return Path(cached).parent.name if isinstance(cached, str) else config.revision or "main"
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(config.model).rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:16]}"
