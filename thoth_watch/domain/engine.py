"""The requested engine, and the engine, device and precision in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from thoth_watch.domain.decoding import DecodingOptions


class EngineType(StrEnum):
    """The three engines; they differ in placement and in windows per forward pass, not in code."""

    STANDARD = "standard"
    ACCELERATED = "accelerated"
    BATCH = "batch"


class Precision(StrEnum):
    """Number formats that can be requested; `auto` lets the device decide."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


PRECISION_ALIASES = {
    "auto": "auto",
    "no": "float32",
    "fp32": "float32",
    "float32": "float32",
    "fp16": "float16",
    "float16": "float16",
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "int8": "int8",
}

# accelerate's names, as `performance` prints them
ACCELERATE_PRECISION = {"float32": "no", "float16": "fp16", "bfloat16": "bf16", "int8": "no"}


class FallbackPolicy(StrEnum):
    """Behavior if the requested engine is unavailable: stop, or use the standard engine on the CPU."""

    NEVER = "never"
    WARN = "warn"


class Task(StrEnum):
    """Whisper's two tasks."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


class AudioContext(StrEnum):
    """Input of the encoder: always 30 s, or only the audio of the window."""

    FULL = "full"
    TRIM = "trim"  # faster for short recordings; only for models that tolerate it


@dataclass(frozen=True, slots=True)
class TranscriptionEngineConfig:
    """The requested engine."""

    engine_type: str = "accelerated"  # standard, accelerated or batch
    batch_size: int | None = None  # windows that share a forward pass; None: by model and memory
    enable_mixed_precision: bool = True  # False means float32
    use_cache: bool = True  # the decoder's key-value cache; False costs about 4.5x
    model: str = "builtin"  # builtin, a Hugging Face id or a local folder
    revision: str | None = None  # commit, tag or branch of a Hugging Face id
    weights_sha256: str | None = None  # 64 hex digits; other weights are rejected; None: any
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps...
    device_is_binding: bool = False  # named on the command line: no fallback
    precision: str = "auto"
    audio_context: str = "full"  # or trim; the standard engine always uses full
    fallback: str = "warn"  # never or warn
    language: str | None = None  # None: detected per file
    task: str = "transcribe"
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    def __post_init__(self) -> None:
        """Raise ValueError for unknown values, with the allowed ones."""
        if self.engine_type not in tuple(EngineType):
            raise ValueError(f"engine_type {self.engine_type!r}: use {', '.join(EngineType)}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size}: use 1 or more")
        if self.task not in tuple(Task):
            raise ValueError(f"task {self.task!r}: use {', '.join(Task)}")
        if self.fallback not in tuple(FallbackPolicy):
            raise ValueError(f"fallback {self.fallback!r}: use {', '.join(FallbackPolicy)}")
        if self.audio_context not in tuple(AudioContext):
            raise ValueError(f"audio_context {self.audio_context!r}: use {', '.join(AudioContext)}")
        parse_precision(self.precision)

    @property
    def trims(self) -> bool:
        """Return True if windows shorter than 30 s are encoded at their own length."""
        return self.audio_context == AudioContext.TRIM and self.engine_type != EngineType.STANDARD


def parse_precision(text: str) -> tuple[str, str]:
    """Return the precision of the encoder and of the decoder for text such as `bf16+int8`.

    Raises ValueError with the allowed names.
    """
    parts = [PRECISION_ALIASES.get(part.strip().lower()) for part in text.split("+")]
    if len(parts) > 2 or None in parts or (len(parts) == 2 and "auto" in parts):
        allowed = "auto, float32, float16, bfloat16, int8 (or fp32, fp16, bf16)"
        raise ValueError(f"precision {text!r}: use {allowed}, or two joined by +")
    first, last = str(parts[0]), str(parts[-1])
    return first, last


@dataclass(frozen=True, slots=True)
class Fallback:
    """A difference between what was requested and what was used, with the reason."""

    what: str  # "engine", "device", "precision", "batch_size"
    requested: str
    used: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        """Return the JSON form that the run row stores."""
        return {"what": self.what, "asked": self.requested, "got": self.used, "why": self.reason}


@dataclass(frozen=True, slots=True)
class Placement:
    """The placement that a loaded engine reports: device, precision and batch size in use."""

    engine: str
    model: str
    model_revision: str  # commit hash of a hub model, else "sha256:" + hash of the weights
    device: str
    device_name: str
    precision: str
    mixed_precision: str  # accelerate's name: no, fp16, bf16
    batch_size: int
    num_processes: int = 1
    is_main_process: bool = True
    versions: Mapping[str, str] = field(default_factory=dict)
