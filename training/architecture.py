"""Converts the trained network to transformers: config, generation settings, weights."""

from __future__ import annotations

from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from training.network import MAX_POSITIONS, MAX_TOKENS, N_MELS, Network, Size
from training.tokenizer import N_TIMESTAMPS


def build_config(size: Size, tokenizer: WhisperTokenizer) -> WhisperConfig:
    """Return the transformers config of a network."""
    end, start = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|startoftranscript|>"])
    return WhisperConfig(
        vocab_size=size.vocabulary,
        num_mel_bins=N_MELS,
        d_model=size.width,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=4 * size.width,
        decoder_ffn_dim=4 * size.width,
        max_source_positions=MAX_POSITIONS,
        max_target_positions=MAX_TOKENS,
        dropout=0.0,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        median_filter_width=7,
    )


def to_transformers(
    network: Network, tokenizer: WhisperTokenizer
) -> WhisperForConditionalGeneration:
    """Copy a trained network into transformers' class, by parameter name."""
    model = WhisperForConditionalGeneration(build_config(network.size, tokenizer))
    weights = network.state_dict()
    weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"]
    model.load_state_dict(weights)
    model.generation_config = build_generation_config(network.size, tokenizer)
    return model.eval()


def build_generation_config(size: Size, tokenizer: WhisperTokenizer) -> GenerationConfig:
    """Return Whisper's generation settings for this vocabulary.

    <|endoftext|> may come first, otherwise silence could not give an empty transcript. Any first
    timestamp is allowed, because the training data has long leading silences.
    """
    ids = tokenizer.convert_tokens_to_ids
    suppressed = ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    suppressed += ["<|nospeech|>", "<|startoftranscript|>"]
    end = ids("<|endoftext|>")
    return GenerationConfig(
        decoder_start_token_id=ids("<|startoftranscript|>"),
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids(f"<|{code}|>") for code in LANGUAGES},
        task_to_id={"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")},
        no_timestamps_token_id=ids("<|notimestamps|>"),
        max_initial_timestamp_index=N_TIMESTAMPS - 1,
        max_length=448,
        condition_on_prev_tokens=False,  # not trained to continue previous text
        chunk_length=8,  # s; windows with one or two utterances have the fewest errors
        prev_sot_token_id=ids("<|startofprev|>"),
        return_timestamps=False,
        suppress_tokens=sorted(ids(name) for name in suppressed),
        begin_suppress_tokens=[ids("Ġ")],
        alignment_heads=[[size.decoder_layers - 1, 0]],
    )
