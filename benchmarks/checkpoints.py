"""Whisper checkpoints of the real shapes with seeded random weights: speed without a download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, pre_tokenizers
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

N_WORD_TOKENS = 50_257  # before <|endoftext|>, as in every multilingual Whisper
LOGIT_SPREAD = 4.0  # approximate standard deviation of a trained model's logits


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of an OpenAI Whisper."""

    width: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    n_mels: int = 80
    n_languages: int = 99
    vocabulary: int = 51_865


SHAPES = {
    "tiny": Shape(384, 4, 4, 6),
    "base": Shape(512, 6, 6, 8),
    "small": Shape(768, 12, 12, 12),
    "large-v3-turbo": Shape(1280, 32, 4, 20, n_mels=128, n_languages=100, vocabulary=51_866),
}


def make_checkpoint(folder: Path, size: str, *, n_tokens: int) -> Path:
    """Return a float16 checkpoint below `folder`, written if missing; every window has `n_tokens` tokens.

    The rows of the tied embedding from <|endoftext|> on are zero, so that no window ends early.
    """
    target = folder / f"{size}-{n_tokens}"
    if (target / "config.json").exists():
        return target
    shape = SHAPES[size]
    tokenizer = _tokenizer(list(LANGUAGES)[: shape.n_languages])
    token = tokenizer.convert_tokens_to_ids
    end, start = token("<|endoftext|>"), token("<|startoftranscript|>")
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=shape.n_mels,
        d_model=shape.width,
        encoder_layers=shape.encoder_layers,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=4 * shape.width,
        decoder_ffn_dim=4 * shape.width,
        dropout=0.0,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        embeddings = model.model.decoder.embed_tokens.weight
        embeddings[end:] = 0
        model.model.decoder.layer_norm.weight.fill_(
            LOGIT_SPREAD / float(embeddings[:end].norm(dim=1).mean())
        )
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": token(f"<|{code}|>") for code in list(LANGUAGES)[: shape.n_languages]},
        task_to_id={name: token(f"<|{name}|>") for name in ("transcribe", "translate")},
        no_timestamps_token_id=token("<|notimestamps|>"),
        max_initial_timestamp_index=50,
        max_length=n_tokens,
    )  # fmt: skip
    model.half().save_pretrained(target)
    tokenizer.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=shape.n_mels).save_pretrained(target)
    return target


def _tokenizer(languages: list[str]) -> WhisperTokenizer:
    """Return a byte-level tokenizer of the real vocabulary size; its longer tokens are made up."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    vocabulary |= {f"Ġw{n}": n for n in range(len(letters), N_WORD_TOKENS)}
    vocabulary["<|endoftext|>"] = N_WORD_TOKENS
    tokenizer = WhisperTokenizer(
        vocab=vocabulary, merges=[], pad_token="<|endoftext|>", model_max_length=1 << 30
    )
    special_names = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in languages),
    ]
    special_names += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    special_names += ["<|nospeech|>", "<|notimestamps|>"]
    special = [AddedToken(name, special=True, normalized=False) for name in special_names]
    tokenizer.add_special_tokens({"extra_special_tokens": special})
    timestamps = [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
    tokenizer.add_tokens([AddedToken(s, special=False, normalized=False) for s in timestamps])
    return tokenizer
