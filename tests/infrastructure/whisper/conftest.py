"""Fixtures with a tiny Whisper of seeded random weights, built once; nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import EngineSeconds, TranscriptionResult
from thoth_watch.domain.audio import AudioInfo
from thoth_watch.domain.decoding import GREEDY
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.infrastructure.whisper import AcceleratedWhisperEngine

RATE = 16_000
LANGUAGES = ("en", "de", "fr", "es")
NEW_TOKENS = 12
WINDOW_S = 5  # not 30: faster, and shows that sizes are read from the checkpoint


def make_whisper(folder: Path, *, multilingual: bool = True, seed: int = 0) -> Path:
    """Save a Whisper with width 64, one layer per side and 5 s windows; its output depends on its input."""
    specials = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in LANGUAGES),
        *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"),
        *("<|nospeech|>", "<|notimestamps|>"),
    ]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(alphabet)}
    merges = [(a, b) for a in "Ġetaoin" for b in "shrdlucmfwypvbgk"]
    vocabulary |= {a + b: len(vocabulary) + i for i, (a, b) in enumerate(merges)}
    vocabulary["<|endoftext|>"] = len(vocabulary)
    assert Tokenizer(models.BPE(vocab=vocabulary, merges=merges)).get_vocab_size() > 350
    tokenizer = WhisperTokenizer(
        vocab=vocabulary, merges=merges, pad_token="<|endoftext|>", model_max_length=1 << 30
    )
    special = [AddedToken(s, special=True, normalized=False) for s in specials]
    tokenizer.add_special_tokens({"extra_special_tokens": special})
    timestamps = [
        AddedToken(f"<|{i * 0.02:.2f}|>", special=False, normalized=False) for i in range(1501)
    ]
    tokenizer.add_tokens(timestamps)
    token = tokenizer.convert_tokens_to_ids
    end, start = token("<|endoftext|>"), token("<|startoftranscript|>")
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        d_model=64,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=WINDOW_S * 50,
        max_target_positions=32,
        dropout=0.0,
        init_std=0.25,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config)
    rules: dict[str, Any] = {
        "decoder_start_token_id": start,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "is_multilingual": multilingual,
        "no_timestamps_token_id": token("<|notimestamps|>"),
        "prev_sot_token_id": token("<|startofprev|>"),
        "max_initial_timestamp_index": 50,
        "max_length": NEW_TOKENS,
        "return_timestamps": False,
        "suppress_tokens": [token(s) for s in specials[1:] if s != "<|notimestamps|>"],
        "begin_suppress_tokens": [token("Ġ")],
    }
    if multilingual:
        rules["lang_to_id"] = {f"<|{code}|>": token(f"<|{code}|>") for code in LANGUAGES}
        rules["task_to_id"] = {t: token(f"<|{t}|>") for t in ("transcribe", "translate")}
    model.generation_config = GenerationConfig(**rules)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_S).save_pretrained(folder)
    return folder


def noise(duration_s: float, seed: int = 0) -> np.ndarray:
    """Return bursts of noise with pauses between them, different for each seed."""
    random = np.random.default_rng(seed)
    n = round(duration_s * RATE)
    t = np.arange(n) / RATE
    pitch = 100 + 900 * random.random()
    loud = np.clip(np.sin(2 * np.pi * t * (0.3 + random.random())), 0, None)
    carrier = 0.3 * np.sin(2 * np.pi * pitch * t) + 0.05 * random.standard_normal(n)
    return (carrier * loud).astype(np.float32)


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("whisper") / "tiny")


@pytest.fixture(scope="session")
def tiny_english_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("whisper") / "tiny.en", multilingual=False)


@pytest.fixture(scope="session")
def bursts() -> Callable[..., np.ndarray]:
    return noise


@pytest.fixture
def recording() -> Callable[..., Recording]:
    """Return a function that builds a recording; closed recordings append their key to `closed`."""

    def make(
        key: int, samples: np.ndarray, *, closed: list[int] | None = None, **fields: Any
    ) -> Recording:
        warnings = fields.pop("warnings", ())
        info = AudioInfo(None, len(samples) / RATE, RATE, 1, "pcm", "test", warnings)
        return Recording(
            key,
            samples,
            f"{key:064x}",
            info,
            close=lambda: closed.append(key) if closed is not None else None,
            **fields,
        )

    return make


@pytest.fixture
def transcribe() -> Callable[..., dict[int, TranscriptionResult]]:
    """Return a function that transcribes recordings with an engine; results by key."""

    def run(
        engine: Any, recordings: Any, seconds: EngineSeconds | None = None
    ) -> dict[int, TranscriptionResult]:
        results = engine.transcribe(
            recordings,
            seconds=seconds or EngineSeconds(),
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )
        return {result.key: result for result in results}

    return run


@pytest.fixture(scope="session")
def load(tiny_whisper: Path) -> Callable[..., Any]:
    """Return a function that loads an engine with the tiny model; equal settings share one engine."""
    loaded: dict[Any, Any] = {}

    def get(
        engine_class: Any = AcceleratedWhisperEngine,
        *,
        fresh: bool = False,
        **settings: Any,
    ) -> Any:
        # With random weights, lower precision flips near ties, and confidence checks reject the text.
        settings = {"precision": "float32", "decoding": GREEDY} | settings
        key = (engine_class, tuple(sorted(settings.items())))
        if fresh or key not in loaded:
            engine = engine_class(TranscriptionEngineConfig(**settings), builtin=tiny_whisper)
            if fresh:
                return engine
            loaded[key] = engine
        return loaded[key]

    return get
