"""Converts a checkpoint for other programs: openai's .pt, CTranslate2's folder, whisper.cpp's ggml."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from benchmarks.checkpoints import N_WORD_TOKENS

OPENAI_NAMES = (  # replaced in this order: some are parts of others
    ("layers", "blocks"),
    ("self_attn_layer_norm", "attn_ln"),
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("encoder_attn", "cross_attn"),
    ("self_attn", "attn"),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("final_layer_norm", "mlp_ln"),
    ("embed_tokens", "token_embedding"),
    ("encoder.embed_positions.weight", "encoder.positional_embedding"),
    ("decoder.embed_positions.weight", "decoder.positional_embedding"),
    ("encoder.layer_norm", "encoder.ln_post"),
    ("decoder.layer_norm", "decoder.ln"),
)
GGML_MAGIC = 0x67676D6C
FLOAT32, FLOAT16, Q8_0 = 0, 1, 8  # ggml's tensor types
FILE_TYPES = {"f16": 1, "q8_0": 2007}  # 2007: type 7, quantization version 2
BLANK = 220  # whisper.cpp suppresses this token at the start; it finds it by its text
BLOCK = 32  # weights that share a scale in q8_0


def convert(checkpoint: Path, folder: Path) -> Path:
    """Write openai.pt, ct2/, ggml-f16.bin and ggml-q8_0.bin into `folder`, unless they exist."""
    marker = folder / "done"
    if marker.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    _convert_for_ctranslate2(checkpoint, folder / "ct2")
    model = WhisperForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float16)
    dimensions = _dimensions(model.config)
    weights = {_openai_name(name): tensor for name, tensor in model.model.state_dict().items()}
    torch.save({"dims": dimensions, "model_state_dict": weights}, folder / "openai.pt")
    filters = WhisperFeatureExtractor.from_pretrained(checkpoint).mel_filters
    for kind in FILE_TYPES:
        with (folder / f"ggml-{kind}.bin").open("wb") as file:
            _write_ggml(file, dimensions, filters, weights, kind=kind)
    marker.touch()
    return folder


def _openai_name(name: str) -> str:
    for ours, theirs in OPENAI_NAMES:
        name = name.replace(ours, theirs)
    return name


def _dimensions(config: Any) -> dict[str, int]:
    """Return a model's dimensions by openai/whisper's names, in the order of a ggml file's header."""
    return {
        "n_vocab": config.vocab_size,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": config.decoder_layers,
        "n_mels": config.num_mel_bins,
    }


def _convert_for_ctranslate2(checkpoint: Path, folder: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(
        str(checkpoint), copy_files=["tokenizer.json", "preprocessor_config.json"]
    ).convert(str(folder), quantization="float32", force=True)


def _write_ggml(
    file: BinaryIO, dimensions: dict[str, int], filters: Any, weights: dict[str, Any], *, kind: str
) -> None:
    """Write a ggml file as whisper.cpp's convert-pt-to-ggml.py and its quantize program do."""
    file.write(struct.pack("i", GGML_MAGIC))
    file.write(struct.pack("10i", *dimensions.values()))
    file.write(struct.pack("i", FILE_TYPES[kind]))
    bank = np.ascontiguousarray(np.asarray(filters, dtype=np.float32).T)
    file.write(struct.pack("2i", *bank.shape))
    bank.tofile(file)
    file.write(struct.pack("i", N_WORD_TOKENS))
    for number in range(N_WORD_TOKENS):
        text = b" " if number == BLANK else f" w{number}".encode()
        file.write(struct.pack("i", len(text)) + text)
    for name, tensor in weights.items():
        values = tensor.float().numpy()
        if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
            values = values.reshape(-1, 1)
        is_plain = tensor.ndim < 2 or "positional_embedding" in name
        is_quantized = kind == "q8_0" and values.ndim == 2 and not is_plain
        type_ = FLOAT32 if is_plain else Q8_0 if is_quantized else FLOAT16
        encoded = name.encode()
        file.write(struct.pack("3i", values.ndim, len(encoded), type_))
        file.write(struct.pack(f"{values.ndim}i", *reversed(values.shape)))
        file.write(encoded)
        if is_quantized:
            _quantize_q8_0(values).tofile(file)
        else:
            values.astype(np.float32 if is_plain else np.float16).tofile(file)


def _quantize_q8_0(values: np.ndarray) -> np.ndarray:
    """Quantize to q8_0: each 32 weights of a row become a float16 scale and 32 int8."""
    blocks = values.reshape(-1, BLOCK)
    scales = np.abs(blocks).max(axis=1, keepdims=True) / 127
    packed = np.empty(len(blocks), dtype=[("scale", "<f2"), ("weights", "i1", BLOCK)])
    packed["scale"] = scales[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        packed["weights"] = np.nan_to_num(np.rint(blocks / scales))
    return packed
