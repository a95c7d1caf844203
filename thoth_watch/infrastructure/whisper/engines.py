"""The three engines: one way of working; precision, placement and forward passes differ."""

from __future__ import annotations

import hashlib
import json
import logging
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch

from thoth_watch.application.detect_speech import detect_speech
from thoth_watch.application.ports import (
    AudioDecoder,
    EngineSeconds,
    Recording,
    TranscriptionResult,
    VoiceActivityDetector,
)
from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.engine import EngineType, Fallback, Placement, TranscriptionEngineConfig
from thoth_watch.domain.errors import AudioError, EngineUnavailable, FileGone, NotAudio, ThothError
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.speech import Vad
from thoth_watch.domain.transcript import Transcript
from thoth_watch.infrastructure.whisper import placement as where
from thoth_watch.infrastructure.whisper.batch_size import BatchSize, automatic_batch_size
from thoth_watch.infrastructure.whisper.device_maps import Memory
from thoth_watch.infrastructure.whisper.forwards import Forwards
from thoth_watch.infrastructure.whisper.hearing import DECODING_VERSION, Ear
from thoth_watch.infrastructure.whisper.loading import load_whisper

log = logging.getLogger(__name__)

BUILTIN = Path(__file__).parents[2] / "builtin" / "model"


class WhisperTranscriptionEngine:
    """The standard engine: float32, plain torch, one window per forward pass; works anywhere."""

    engine_type: ClassVar[EngineType] = EngineType.STANDARD
    through_accelerate: ClassVar[bool] = False  # placed by accelerate, spread where too large
    shares_forwards: ClassVar[bool] = False  # windows of several recordings in one forward pass
    default_decoder: ClassVar[Callable[[], AudioDecoder] | None] = None  # thoth_watch.library's
    default_voice: ClassVar[Callable[[], VoiceActivityDetector] | None] = None  # the same

    def __init__(
        self,
        config: TranscriptionEngineConfig | None = None,
        *,
        decoder: AudioDecoder | None = None,
        voice: VoiceActivityDetector | None = None,
        builtin: Path = BUILTIN,
        fallbacks: Sequence[Fallback] = (),
        max_memory: Memory | None = None,
    ) -> None:
        """Load the model that `config` asks for. Raises EngineUnavailable.

        decoder, voice: only `transcribe_batch` needs them; None: the program's own.
        fallbacks: what the caller already gave up.
        max_memory: bytes by device number or `cpu`, over which a model that is larger than its
        device is spread; None: what is free.
        """
        started = time.monotonic()
        self._asked = asked = replace(
            config or TranscriptionEngineConfig(), engine_type=self.engine_type.value
        )
        self._decoder = decoder
        build_decoder = type(self).default_decoder
        if decoder is None and build_decoder is not None:
            self._decoder = build_decoder()
        self._voice = voice
        build_voice = type(self).default_voice
        if voice is None and build_voice is not None:
            self._voice = build_voice()
        self._fallbacks = list(fallbacks)
        device = where.choose_device(asked.device)
        packed = self.through_accelerate and asked.use_cache
        self._loaded = loaded = load_whisper(
            asked.model,
            revision=asked.revision,
            weights_sha256=asked.weights_sha256,
            builtin=builtin,
            device=device,
            precision=where.choose_precision(
                asked.precision,
                enable_mixed=asked.enable_mixed_precision,
                engine_type=self.engine_type,
                device=device,
                packed=packed,
            ),
            is_free_to_choose=asked.precision == "auto",
            through_accelerate=self.through_accelerate,
            packed=packed,
            max_memory=max_memory,
        )
        self._got = loaded.encoder_precision, loaded.decoder_precision
        if where.is_emulated(self._got, device):
            log.warning(
                "this processor has no instructions for bfloat16, which is several times slower than "
                "float32 without them; engine.precision: auto takes what is fast",
                extra={
                    "event": "precision_emulated",
                    "precision": where.precision_text(*self._got),
                },
            )
        self._facts = where.read_process_facts(
            cpu=device.type == "cpu", mixed_precision=where.accelerate_word(*self._got)
        )
        self._ear = Ear(
            loaded, use_cache=asked.use_cache, trims=asked.trims, options=asked.decoding
        )
        self._forwards = Forwards(
            self._ear, size=self._batch_size(device), on_smaller=self._note_smaller
        )
        self._placement = self._read_placement(device)
        self._load_s = time.monotonic() - started

    def _windows_per_forward(self) -> int:
        if self.engine_type == EngineType.STANDARD:
            return 1
        return self._asked.batch_size or automatic_batch_size(
            self._loaded.model.config,
            n_weights=self._loaded.n_weights,
            dtype=self._loaded.encoder_dtype,
            device=self._loaded.device,
        )

    def _batch_size(self, device: torch.device) -> BatchSize:
        """On a GPU as a former engine of this process learnt it; a CPU's memory is everybody's."""
        key = (self._loaded.revision, where.device_name(device)) if device.type == "cuda" else None
        return BatchSize(self._windows_per_forward(), remembered_as=key)

    def _note_smaller(self, got: int, why: str) -> None:
        """Out of memory: one fallback, brought up to date when it happens again."""
        asked = self._windows_per_forward()
        self._fallbacks = [f for f in self._fallbacks if f.what != "batch_size"]
        self._fallbacks.append(Fallback("batch_size", str(asked), str(got), why))
        log.warning(
            "out of memory: fewer windows share a forward pass from now on",
            extra={"event": "batch_size_reduced", "asked": asked, "got": got},
        )

    @property
    def placement(self) -> Placement:
        """Where and how it computes, read back from the model's weights and accelerate's state."""
        return replace(self._placement, batch_size=self._forwards.size)

    def _read_placement(self, device: torch.device) -> Placement:
        return Placement(
            engine=self.engine_type.value,
            model=self._asked.model,
            model_revision=self._loaded.revision,
            device=str(device),
            device_name=where.device_name(device),
            precision=where.precision_text(*self._got),
            mixed_precision=self._facts.mixed_precision,
            batch_size=self._forwards.size,
            num_processes=self._facts.num_processes,
            is_main_process=self._facts.is_main_process,
            versions={name: version(name) for name in ("torch", "transformers", "accelerate")},
        )

    @property
    def load_s(self) -> float:
        """Seconds that loading took."""
        return self._load_s

    @property
    def fallbacks(self) -> Sequence[Fallback]:
        """Everything that was not done as asked so far."""
        return self._fallbacks

    @property
    def fingerprint(self) -> str:
        """sha256 of all that decides the words; language and task are each recording's own."""
        versions = self.placement.versions
        decides = {
            "engine": self.engine_type.value,
            "model_revision": self._loaded.revision,
            "encoder": self._got[0],
            "decoder": self._got[1],
            "audio_context": "trim" if self._ear.trims else "full",
            "window_samples": self._ear.window_samples,
            "decoding": DECODING_VERSION,
            "options": asdict(self._asked.decoding),
            "versions": {k: versions[k].split(".")[:2] for k in ("torch", "transformers")},
        }
        text = json.dumps(decides, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def get_device_info(self) -> dict[str, Any]:
        """What was got: device, number formats, processes, model and versions."""
        got = self.placement
        return {
            "engine": got.engine,
            "device": got.device,
            "device_name": got.device_name,
            "device_map": self._loaded.device_map,
            "mixed_precision": got.mixed_precision,
            "precision": got.precision,
            "encoder_precision": self._got[0],
            "decoder_precision": self._got[1],
            "dtype": str(self._loaded.decoder_dtype).removeprefix("torch."),
            "encoder_dtype": str(self._loaded.encoder_dtype).removeprefix("torch."),
            "num_processes": got.num_processes,
            "is_main_process": got.is_main_process,
            "model": got.model,
            "model_revision": got.model_revision,
            "batch_size": got.batch_size,
            "use_cache": self._asked.use_cache,
            "audio_context": "trim" if self._ear.trims else "full",
            "versions": dict(got.versions),
        }

    def transcribe(
        self,
        recordings: Iterable[Recording],
        *,
        seconds: EngineSeconds,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[TranscriptionResult]:
        """Yield each recording's transcript as soon as its last window is decoded.

        A recording that cannot be transcribed is yielded with its error; the others go on.
        """
        if self._loaded.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._loaded.device)
        return self._forwards.run(
            recordings,
            vocabulary=self._loaded.vocabulary,
            shares=self.shares_forwards,
            seconds=seconds,
            on_progress=on_progress,
            should_stop=should_stop,
        )

    def transcribe_batch(
        self,
        files: Iterable[str | Path],
        *,
        vad: str = Vad.AUTO,
        seconds: EngineSeconds | None = None,
    ) -> list[Transcript]:
        """Transcripts of files, in the order given, in the configured language and task.

        vad: off, auto or on: whether what is no speech is skipped.
        seconds: where the time of each stage is added, for who wants to know.
        Raises the AudioError of the first file that cannot be read, or ThothError for one that
        cannot be transcribed, naming the file.
        """
        if self._decoder is None:
            raise EngineUnavailable(
                "this engine was built without a decoder; use thoth_watch.load_engine(config)"
            )
        paths = [Path(file) for file in files]
        done: dict[int, Transcript] = {}
        for finished in self.transcribe(
            self._decoded(paths, self._decoder, Vad(vad)),
            seconds=seconds or EngineSeconds(),
            on_progress=lambda _: None,
            should_stop=lambda: False,
        ):
            if finished.transcript is None:
                raise ThothError(f"{paths[finished.key]}: {finished.error}")
            done[finished.key] = finished.transcript
        return [done[key] for key in range(len(paths))]

    def _decoded(
        self, paths: Sequence[Path], decoder: AudioDecoder, vad: Vad
    ) -> Iterator[Recording]:
        for key, path in enumerate(paths):
            try:
                recording = decoder.decode(_look_at(path), key=key)
            except AudioError as error:
                raise type(error)(f"{path}: {error}") from error
            recording = detect_speech(
                recording, FileOptions(vad=vad), voice=self._voice, speakers=None
            )
            yield replace(recording, key=key, language=self._asked.language, task=self._asked.task)


class AcceleratedWhisperTranscriptionEngine(WhisperTranscriptionEngine):
    """The default: the device's precision, placed by accelerate, a recording's windows together."""

    engine_type = EngineType.ACCELERATED
    through_accelerate = True


class BatchTranscriptionEngine(AcceleratedWhisperTranscriptionEngine):
    """For throughput: windows of many recordings share each forward pass."""

    engine_type = EngineType.BATCH
    shares_forwards = True


ENGINES: dict[EngineType, type[WhisperTranscriptionEngine]] = {
    engine.engine_type: engine
    for engine in (
        WhisperTranscriptionEngine,
        AcceleratedWhisperTranscriptionEngine,
        BatchTranscriptionEngine,
    )
}


def _look_at(path: Path) -> AudioFile:
    """The file that a path names, as the decoder wants it; links are followed."""
    try:
        whole = path.expanduser().resolve(strict=True)
        status = whole.stat()
    except OSError as error:
        raise FileGone(str(error.strerror or error).lower()) from error
    if not stat.S_ISREG(status.st_mode):
        raise NotAudio("not a plain file")
    signature = Signature(
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
        device=status.st_dev,
        inode=status.st_ino,
    )
    return AudioFile(inbox=whole.parent, path=whole, signature=signature)
