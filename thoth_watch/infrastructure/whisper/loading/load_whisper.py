"""Load a Whisper checkpoint onto a device, and read back its precision and device map."""

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
from thoth_watch.infrastructure.whisper.decoding.special_tokens import (
    SpecialTokens,
    read_special_tokens,
)
from thoth_watch.infrastructure.whisper.loading.checkpoint import (
    Checkpoint,
    ModelUnavailable,
    check_weights_hash,
    find_checkpoint,
)
from thoth_watch.infrastructure.whisper.loading.device_maps import MemoryBudget, device_map_for
from thoth_watch.infrastructure.whisper.network.interface import WhisperNetwork
from thoth_watch.infrastructure.whisper.network.packed import PackedWhisper
from thoth_watch.infrastructure.whisper.network.silence_warnings import silence_warnings
from thoth_watch.infrastructure.whisper.network.transformers_whisper import TransformersWhisper
from thoth_watch.infrastructure.whisper.placement import DTYPES

# A model narrower than every OpenAI Whisper is sensitive to rounding: of 1,477 words transcribed by one
# that training/ made with the builtin model's dimensions, bfloat16 or int8 changed up to 0.4 %.
NARROW_WIDTH = 384


@dataclass(slots=True)
class LoadedWhisper:
    """A network that is ready for inference, with its tokenizer and feature extractor."""

    network: WhisperNetwork
    tokenizer: Any
    extractor: Any
    special_tokens: SpecialTokens
    revision: str
    n_weights: int


def load_whisper(  # noqa: PLR0913 - which weights, from where, and how they are placed: all keyword-only
    model: str,
    *,
    revision: str | None,
    weights_sha256: str | None = None,
    builtin: Path,
    device: torch.device,
    precision: tuple[str, str],
    is_free_to_choose: bool = False,
    is_placed_by_accelerate: bool,
    use_cache: bool = True,
    max_memory: MemoryBudget | None = None,
) -> LoadedWhisper:
    """Load a model onto a device, in the given precisions of encoder and decoder.

    is_placed_by_accelerate: use accelerate's device map, which offloads a model that is larger than the
    device's memory; otherwise all of it is on the device. With it and use_cache, weights are packed unless
    the model is offloaded; only packed weights have int8 layers or different precisions of encoder and
    decoder. is_free_to_choose: an offloaded model may use the encoder's precision in the decoder,
    and a narrow model may use float32 on a CPU. weights_sha256: pinned hash of the weights.
    Raises ModelUnavailable for a model that is missing, damaged or not a Whisper, EngineUnavailable
    if it does not fit.
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
                use_cache=use_cache,
                max_memory=max_memory,
                weights_sha256=weights_sha256,
            )
        except torch.OutOfMemoryError as error:
            raise EngineUnavailable(
                f"model {model}: not enough memory on {device}; use a smaller model, "
                "engine.device: cpu, or an engine that can offload it (engine.engine_type: accelerated)"
            ) from error
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ModelUnavailable(f"model {model}: cannot be loaded: {reason}") from error


def _load(
    checkpoint: Checkpoint,
    device: torch.device,
    precision: tuple[str, str],
    *,
    is_free_to_choose: bool,
    is_placed_by_accelerate: bool,
    use_cache: bool,
    max_memory: MemoryBudget | None,
    weights_sha256: str | None,
) -> LoadedWhisper:
    source_options = {"revision": checkpoint.commit, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(checkpoint.source, **source_options)
    if config.model_type != "whisper":
        raise ValueError(f"it is a {config.model_type} model, not a Whisper")
    dtype = DTYPES[precision[0]]
    is_packed = is_placed_by_accelerate and use_cache
    device_map = (
        device_map_for(config, device=device, dtype=dtype, max_memory=max_memory)
        if is_placed_by_accelerate
        else None
    )
    is_offloaded = device_map is not None and set(device_map.values()) != {device}
    if (
        is_free_to_choose
        and not is_offloaded
        and device.type == "cpu"
        and config.d_model < NARROW_WIDTH
    ):
        precision, dtype = ("float32", "float32"), torch.float32
    if is_offloaded and not is_free_to_choose and (len(set(precision)) > 1 or "int8" in precision):
        raise EngineUnavailable(
            f"precision {'+'.join(precision)}: this model does not fit on {device}, and an offloaded "
            "model has a single float precision; set engine.precision: auto"
        )
    offload_folder = tempfile.mkdtemp(prefix="thoth-watch-") if is_offloaded else None
    try:
        model, report = WhisperForConditionalGeneration.from_pretrained(
            checkpoint.source,
            **source_options,
            config=config,
            # "auto" keeps the file's dtype, so that packing converts one layer at a time
            dtype=dtype if is_offloaded or not is_packed else "auto",
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # _check_weights names them instead
            device_map=device_map,
            offload_folder=offload_folder,
        )
    except BaseException:
        if offload_folder:
            shutil.rmtree(offload_folder, ignore_errors=True)
        raise
    if offload_folder:  # the model reads offloaded weights from this folder as long as it exists
        weakref.finalize(model, shutil.rmtree, offload_folder, ignore_errors=True)
    _check_weights(report, is_tied=config.tie_word_embeddings)
    if weights_sha256 is not None:  # not earlier: a hub model has been downloaded only now
        check_weights_hash(checkpoint.folder, weights_sha256)
    extractor = _load_extractor(checkpoint, source_options, n_mels=config.num_mel_bins)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.source, **source_options)
    special_tokens = read_special_tokens(model.generation_config, tokenizer)
    model.generation_config = GenerationConfig()  # decoding sets all of its options explicitly
    n_weights = sum(parameter.numel() for parameter in model.parameters())
    model.eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
    if not is_offloaded:
        model.to(device)
    network: WhisperNetwork
    if is_packed and not is_offloaded:
        network = PackedWhisper(model, encoder=precision[0], decoder=precision[1])
    else:
        network = TransformersWhisper(model, device=device, use_cache=use_cache)
    return LoadedWhisper(
        network, tokenizer, extractor, special_tokens, checkpoint.revision, n_weights=n_weights
    )


def _check_weights(report: Any, *, is_tied: bool) -> None:
    """Raise ValueError for missing tensors, which transformers would initialize with random numbers."""
    missing = {str(key) for key in report["missing_keys"]}
    if is_tied:
        missing.discard("proj_out.weight")
    mismatched = {
        str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"]
    }
    for problem, keys in (("lacks", missing), ("has the wrong shape for", mismatched)):
        if keys:
            names = ", ".join(sorted(keys)[:3]) + (" ..." if len(keys) > 3 else "")
            raise ValueError(f"its weight file {problem} {len(keys)} tensors: {names}")


def _load_extractor(checkpoint: Checkpoint, source_options: dict[str, Any], *, n_mels: int) -> Any:
    extractor = WhisperFeatureExtractor.from_pretrained(checkpoint.source, **source_options)
    if extractor.feature_size != n_mels:
        raise ValueError(
            f"its preprocessor makes {extractor.feature_size} mels, its weights need {n_mels}"
        )
    return extractor
