"""Loads a Whisper checkpoint and reads back what was got."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from thoth_watch.domain.errors import EngineUnavailable
from thoth_watch.infrastructure.whisper.checkpoint import (
    Checkpoint,
    ModelUnavailable,
    check_weights_hash,
    find_checkpoint,
)
from thoth_watch.infrastructure.whisper.device_maps import MemoryBudget, device_map_for
from thoth_watch.infrastructure.whisper.packed import PackedWhisper
from thoth_watch.infrastructure.whisper.placement import DTYPES, PRECISIONS
from thoth_watch.infrastructure.whisper.silence_warnings import silence_warnings
from thoth_watch.infrastructure.whisper.special_tokens import SpecialTokens, read_special_tokens

__all__ = ["LoadedWhisper", "ModelUnavailable", "load_whisper"]

# Narrower than any Whisper of OpenAI's: rounding costs such a model words. Of 1,477 heard by one that
# training/ made with the builtin model's measures, up to 0.4 % came out otherwise in bfloat16 or int8.
NARROW_WIDTH = 384


@dataclass(slots=True)
class LoadedWhisper:
    """A model that is ready to compute, with its tokenizer and feature extractor."""

    model: Any  # WhisperForConditionalGeneration or PackedWhisper
    tokenizer: Any
    extractor: Any
    special_tokens: SpecialTokens
    revision: str
    device: torch.device  # where its inputs go
    n_weights: int  # numbers in it

    @property
    def encoder_dtype(self) -> torch.dtype:
        """Number format of the encoder's weights, but for int8 layers."""
        if isinstance(self.model, PackedWhisper):
            return self.model.encoder_dtype
        dtype: torch.dtype = self.model.get_encoder().conv1.weight.dtype
        return dtype

    @property
    def decoder_dtype(self) -> torch.dtype:
        """Number format of the decoder's weights, but for int8 layers."""
        if isinstance(self.model, PackedWhisper):
            return self.model.decoder_dtype
        dtype: torch.dtype = self.model.get_decoder().embed_positions.weight.dtype
        return dtype

    @property
    def encoder_precision(self) -> str:
        """What the encoder computes in, read from its layers."""
        if isinstance(self.model, PackedWhisper):
            return self.model.encoder_precision
        return PRECISIONS[self.encoder_dtype]

    @property
    def decoder_precision(self) -> str:
        """What the decoder computes in, read from its layers."""
        if isinstance(self.model, PackedWhisper):
            return self.model.decoder_precision
        return PRECISIONS[self.decoder_dtype]

    @property
    def device_map(self) -> dict[str, str] | None:
        """Which part lies where, if the model is spread over several places."""
        spread = getattr(self.model, "hf_device_map", None) or {}
        places = {name: str(place) for name, place in spread.items()}
        used = set(places.values())
        return places if len(used) > 1 or "disk" in used else None


def load_whisper(
    model: str,
    *,
    revision: str | None,
    weights_sha256: str | None = None,
    builtin: Path,
    device: torch.device,
    precision: tuple[str, str],
    is_free_to_choose: bool = False,
    is_placed_by_accelerate: bool,
    packed: bool = False,
    max_memory: MemoryBudget | None = None,
) -> LoadedWhisper:
    """Load a model onto a device, in the formats of encoder and decoder.

    through_accelerate: placed by accelerate's device map, also where it is larger than the
    device's memory; else all of it on the device. packed: as a PackedWhisper, unless it is spread;
    the only form that has int8 layers or two formats. is_free_to_choose: a model that is spread may
    have the encoder's format in the decoder too, and a narrow one is float32 on a CPU.
    weights_sha256: no other weights are taken.
    Raises ModelUnavailable for a model that is missing, damaged or no Whisper, EngineUnavailable
    where it does not fit.
    """
    with silence_warnings():
        checkpoint = find_checkpoint(model, revision=revision, builtin=builtin)
        try:
            return _load(
                checkpoint,
                device,
                precision,
                is_free_to_choose=is_free_to_choose,
                is_placed_by_accelerate=is_placed_by_accelerate,
                packed=packed,
                max_memory=max_memory,
                weights_sha256=weights_sha256,
            )
        except torch.OutOfMemoryError as error:
            raise EngineUnavailable(
                f"model {model}: {device} has not enough memory for it; take a smaller model, "
                "engine.device: cpu, or an engine that spreads it (engine_type: accelerated)"
            ) from error
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ModelUnavailable(f"model {model}: it cannot be loaded: {reason}") from error


def _load(
    checkpoint: Checkpoint,
    device: torch.device,
    precision: tuple[str, str],
    *,
    is_free_to_choose: bool,
    is_placed_by_accelerate: bool,
    packed: bool,
    max_memory: MemoryBudget | None,
    weights_sha256: str | None,
) -> LoadedWhisper:
    source_options = {"revision": checkpoint.commit, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(checkpoint.source, **source_options)
    if config.model_type != "whisper":
        raise ValueError(f"it is a {config.model_type} model, not a Whisper")
    dtype = DTYPES[precision[0]]
    device_map = (
        device_map_for(config, device=device, dtype=dtype, max_memory=max_memory)
        if is_placed_by_accelerate
        else None
    )
    is_spread = device_map is not None and set(device_map.values()) != {device}
    if (
        is_free_to_choose
        and not is_spread
        and device.type == "cpu"
        and config.d_model < NARROW_WIDTH
    ):
        precision, dtype = ("float32", "float32"), torch.float32
    if is_spread and not is_free_to_choose and (len(set(precision)) > 1 or "int8" in precision):
        raise EngineUnavailable(
            f"precision {'+'.join(precision)}: this model does not fit on {device}, and a model "
            "that is spread has one float format; set engine.precision: auto"
        )
    offload = tempfile.mkdtemp(prefix="thoth-watch-") if is_spread else None
    try:
        model, report = WhisperForConditionalGeneration.from_pretrained(
            checkpoint.source,
            **source_options,
            config=config,
            dtype=dtype if is_spread or not packed else "auto",  # the file's own: cast part by part
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are named below instead of a long report
            device_map=device_map,
            offload_folder=offload,
        )
    except BaseException:
        if offload:
            shutil.rmtree(offload, ignore_errors=True)
        raise
    if offload:  # parts of the model lie there as long as it lives
        weakref.finalize(model, shutil.rmtree, offload, ignore_errors=True)
    _check_weights(report, is_tied=config.tie_word_embeddings)
    if weights_sha256 is not None:  # of a hub model they are on this machine only now
        check_weights_hash(checkpoint.folder, weights_sha256)
    extractor = _extractor(checkpoint, source_options, n_mels=config.num_mel_bins)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.source, **source_options)
    special_tokens = read_special_tokens(model.generation_config, tokenizer)
    model.generation_config = GenerationConfig()  # decoding says all it wants itself
    n_weights = sum(parameter.numel() for parameter in model.parameters())
    model.eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
    if not is_spread:
        model.to(device)
    if packed and not is_spread:
        model = PackedWhisper(model, encoder=precision[0], decoder=precision[1])
    return LoadedWhisper(
        model,
        tokenizer,
        extractor,
        special_tokens,
        checkpoint.revision,
        device,
        n_weights=n_weights,
    )


def _check_weights(report: Any, *, is_tied: bool) -> None:
    """A tensor that the file lacks would be random numbers: refuse it."""
    missing = {str(key) for key in report["missing_keys"]}
    if is_tied:
        missing.discard("proj_out.weight")
    mismatched = {
        str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"]
    }
    for what, keys in (("lacks", missing), ("has the wrong shape for", mismatched)):
        if keys:
            named = ", ".join(sorted(keys)[:3]) + (" ..." if len(keys) > 3 else "")
            raise ValueError(f"its weight file {what} {len(keys)} tensors: {named}")


def _extractor(checkpoint: Checkpoint, source_options: dict[str, Any], *, n_mels: int) -> Any:
    extractor = WhisperFeatureExtractor.from_pretrained(checkpoint.source, **source_options)
    if extractor.feature_size != n_mels:
        raise ValueError(
            f"its preprocessor makes {extractor.feature_size} mels, its weights need {n_mels}"
        )
    return extractor
