"""A checkpoint in the forms that peers read: openai's .pt, CTranslate2's folder, whisper.cpp's ggml."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from benchmarks.checkpoints import N_WORD_TOKENS

OPENAI_NAMES = (  # in this order: some are parts of others
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
FLOAT32, FLOAT16, Q8_0 = 0, 1, 8  # ggml's types of tensors
FILE_TYPES = {"f16": 1, "q8_0": 2007}  # 7 with quantisation's version 2 in the thousands
BLANK = 220  # the token that whisper.cpp never lets come first; it looks for it by its text
BLOCK = 32  # weights that share a scale in q8_0


def convert(checkpoint: Path, folder: Path) -> Path:
    """Write openai.pt, ct2/, ggml-f16.bin and ggml-q8_0.bin into `folder`, unless they are there."""
    done = folder / "done"
    if done.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    _for_ctranslate2(checkpoint, folder / "ct2")
    model = WhisperForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float16)
    dimensions = _dimensions(model.config)
    weights = {_openai_name(name): tensor for name, tensor in model.model.state_dict().items()}
    torch.save({"dims": dimensions, "model_state_dict": weights}, folder / "openai.pt")
    filters = WhisperFeatureExtractor.from_pretrained(checkpoint).mel_filters
    for kind in FILE_TYPES:
        with (folder / f"ggml-{kind}.bin").open("wb") as file:
            _for_whisper_cpp(file, dimensions, filters, weights, kind=kind)
    done.touch()
    return folder


def _openai_name(name: str) -> str:
    for ours, theirs in OPENAI_NAMES:
        name = name.replace(ours, theirs)
    return name


def _dimensions(config: Any) -> dict[str, int]:
    """What openai/whisper calls a model's measures, in the order of a ggml file's head."""
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


def _for_ctranslate2(checkpoint: Path, folder: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(
        str(checkpoint), copy_files=["tokenizer.json", "preprocessor_config.json"]
    ).convert(str(folder), quantization="float32", force=True)


def _for_whisper_cpp(
    file: BinaryIO, dimensions: dict[str, int], filters: Any, weights: dict[str, Any], *, kind: str
) -> None:
    """The format of ggml, as whisper.cpp's convert-pt-to-ggml.py and its quantize write it."""
    file.write(struct.pack("i", GGML_MAGIC))
    file.write(struct.pack("10i", *dimensions.values()))
    file.write(struct.pack("i", FILE_TYPES[kind]))
    bank = np.ascontiguousarray(np.asarray(filters, dtype=np.float32).T)
    file.write(struct.pack("2i", *bank.shape))
    bank.tofile(file)
    file.write(struct.pack("i", N_WORD_TOKENS))
    for number in range(N_WORD_TOKENS):
        word = b" " if number == BLANK else f" w{number}".encode()
        file.write(struct.pack("i", len(word)) + word)
    for name, tensor in weights.items():
        values = tensor.float().numpy()
        if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
            values = values.reshape(-1, 1)
        is_plain = tensor.ndim < 2 or "positional_embedding" in name
        is_in_blocks = kind == "q8_0" and values.ndim == 2 and not is_plain
        type_ = FLOAT32 if is_plain else Q8_0 if is_in_blocks else FLOAT16
        encoded = name.encode()
        file.write(struct.pack("3i", values.ndim, len(encoded), type_))
        file.write(struct.pack(f"{values.ndim}i", *reversed(values.shape)))
        file.write(encoded)
        if is_in_blocks:
            _in_blocks(values).tofile(file)
        else:
            values.astype(np.float32 if is_plain else np.float16).tofile(file)


def _in_blocks(values: np.ndarray) -> np.ndarray:
    """q8_0: each 32 weights of a row as a float16 scale and 32 int8."""
    blocks = values.reshape(-1, BLOCK)
    scales = np.abs(blocks).max(axis=1, keepdims=True) / 127
    packed = np.empty(len(blocks), dtype=[("scale", "<f2"), ("weights", "i1", BLOCK)])
    packed["scale"] = scales[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        packed["weights"] = np.nan_to_num(np.rint(blocks / scales))
    return packed
