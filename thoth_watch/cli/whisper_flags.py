"""Flags of openai/whisper and related tools: their command lines work here after changing the program's name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from thoth_watch.cli.options import option_spellings

# Flags for keys of `decoding:` in the configuration, with their types and help texts.
DECODING_FLAGS: dict[str, tuple[Any, str]] = {
    "word_timestamps": (bool, "Record the start and end of every word."),
    "chunk_length": (float, "Maximum seconds in a window, 1 to 30."),
    "best_of": (int, "Number of samples at a temperature above 0."),
    "beam_size": (int, "Number of beams at temperature 0; 1 is greedy."),
    "patience": (
        float,
        "Beam search patience: decoding ends when patience * beam_size hypotheses are finished.",
    ),
    "length_penalty": (
        float,
        "Exponent for length normalization, 0 to 1; by default, hypotheses are ranked by average log-probability.",
    ),
    "compression_ratio_threshold": (
        float,
        "If the zlib compression ratio of the text is above this value, decode again at the next temperature.",
    ),
    "logprob_threshold": (
        float,
        "If the average log-probability of the text is below this value, decode again at the next temperature.",
    ),
    "no_speech_threshold": (
        float,
        (
            "Treat a window as silent if its no-speech probability is above this value"
            " and its average log-probability is below logprob_threshold."
        ),
    ),
    "condition_on_previous_text": (
        bool,
        "Prompt each window with the preceding text (sequential decoding only).",
    ),
    "initial_prompt": (str, "Prompt for the first window: names, spelling, style."),
    "carry_initial_prompt": (bool, "Use initial_prompt for every window."),
    "hotwords": (str, "Words to expect; they are added to the prompt of every window."),
}
# The same for `transcript:`.
TRANSCRIPT_FLAGS: dict[str, tuple[Any, str]] = {
    "max_line_width": (int, "Maximum characters per line in srt and vtt."),
    "max_line_count": (int, "Maximum lines per cue in srt and vtt."),
    "max_words_per_line": (int, "Maximum words per cue in srt and vtt."),
    "highlight_words": (bool, "Underline each word while it is spoken, if words have timestamps."),
}
# Keys of `diarize:`, by the name of the flag.
DIARIZE_KEYS: dict[str, str] = {
    "diarize": "enabled",
    "diarize_model": "model",
    "min_speakers": "min_speakers",
    "max_speakers": "max_speakers",
}
# Flags that are accepted but have no effect.
UNUSED_FLAGS: dict[str, Any] = {
    "num_workers": int,
    "hallucination_silence_threshold": float,
    "clip_timestamps": str,
    **dict.fromkeys(("prepend_punctuations", "append_punctuations"), str),
    **dict.fromkeys(("multilingual", "pretty_json", "print_progress", "batched"), bool),
}

USED_OPTIONS = (
    click.option(
        *option_spellings("--model_dir"),
        "model_dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Cache folder for models from the Hugging Face Hub.",
    ),
    click.option(
        "--fp16", type=bool, help="Use half precision if the device supports it; False: float32."
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=0),
        help="Number of CPU threads; 0 for PyTorch's default.",
    ),
    click.option("--verbose", type=bool, help="Print progress and text; False: print neither."),
    click.option(
        *option_spellings("--device_index"),
        "device_index",
        type=click.IntRange(min=0),
        help="Index of the GPU.",
    ),
    click.option(
        *option_spellings("--local_files_only"),
        "local_files_only",
        type=bool,
        help="Never contact the Hugging Face Hub.",
    ),
    click.option(
        *option_spellings("--vad_filter"),
        "vad_filter",
        type=bool,
        help="Skip audio without speech; False: transcribe everything.",
    ),
    click.option(
        "--diarize",
        is_flag=True,
        default=None,
        help="Label the speakers (requires the diarize extra).",
    ),
    click.option(
        *option_spellings("--diarize_model"),
        "diarize_model",
        help="Diarization pipeline: a Hugging Face id, or a local folder.",
    ),
    click.option(
        *option_spellings("--min_speakers"),
        "min_speakers",
        type=click.IntRange(min=1),
        help="Minimum number of speakers.",
    ),
    click.option(
        *option_spellings("--max_speakers"),
        "max_speakers",
        type=click.IntRange(min=1),
        help="Maximum number of speakers.",
    ),
    click.option(
        *option_spellings("--speaker_num"),
        "speaker_num",
        type=click.IntRange(min=1),
        help="Exact number of speakers.",
    ),
    click.option(
        *option_spellings("--hf_token"), "hf_token", help="Hugging Face token for gated models."
    ),
    click.option("--temperature", type=float, help="Sampling temperature of the first attempt."),
    click.option(
        *option_spellings("--temperature_increment_on_fallback"),
        "temperature_increment_on_fallback",
        type=float,
        help="Temperature increment at each fallback, up to a temperature of 1.",
    ),
    click.option(
        *option_spellings("--suppress_tokens"),
        "suppress_tokens",
        help="Token ids that are never generated, separated by commas; -1: the model's own list.",
    ),
    click.option(
        *option_spellings("--long_form"),
        "long_form",
        type=click.Choice(["windowed", "sequential"]),
        help="Decoding method for recordings longer than 30 s.",
    ),
)


def whisper_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags of openai/whisper and related tools; those without effect are hidden."""
    for name, kind in reversed(UNUSED_FLAGS.items()):
        command = click.option(*option_spellings(f"--{name}"), name, type=kind, hidden=True)(
            command
        )
    for flags in (TRANSCRIPT_FLAGS, DECODING_FLAGS):
        for name, (kind, text) in reversed(flags.items()):
            command = click.option(*option_spellings(f"--{name}"), name, type=kind, help=text)(
                command
            )
    for option in reversed(USED_OPTIONS):
        command = option(command)
    return command


def translate_flags(flags: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Remove these flags from `flags`. Return configuration overrides, and a note on flags without effect.

    Some flags are passed on as environment variables to libraries, which read them at import; so
    this function must run before those libraries are imported.
    """
    given = {
        name: flags.pop(name)
        for name in (
            *("model_dir", "fp16", "threads", "device_index", "local_files_only"),
            *("hf_token", "speaker_num"),
        )
    }
    overrides: dict[str, Any] = {}
    if given["fp16"] is not None:
        overrides["engine.enable_mixed_precision"] = given["fp16"]
    if given["device_index"] is not None:
        device = flags.get("device") or "cuda"
        flags["device"] = device if device == "cpu" else f"{device}:{given['device_index']}"
    environment = {
        "HF_HUB_CACHE": given["model_dir"] and str(given["model_dir"].absolute()),
        "OMP_NUM_THREADS": given["threads"] and str(given["threads"]),
        "HF_HUB_OFFLINE": "1" if given["local_files_only"] else None,
        "HF_TOKEN": given["hf_token"],
    }
    os.environ.update({name: value for name, value in environment.items() if value})
    if (precision := flags.get("precision")) is not None:
        flags["precision"] = _translate_precision(precision)
    overrides |= _translate_decoding(flags)
    for name, key in DIARIZE_KEYS.items():
        value = flags.pop(name)
        if name.endswith("_speakers") and value is None:
            value = given["speaker_num"]
        if value is not None:
            overrides[f"diarize.{key}"] = value
    given_unused = {name: flags.pop(name) for name in UNUSED_FLAGS}
    unused = [name for name, value in given_unused.items() if value is not None]
    note = ""
    if unused:
        names = ", ".join(f"--{name}" for name in unused)
        note = f"{names}: no effect here"
    return overrides, note


def _translate_decoding(flags: dict[str, Any]) -> dict[str, Any]:
    """Return overrides for decoding and subtitles. Whisper raises its temperature to 1 in steps of 0.2."""
    names = (*DECODING_FLAGS, "long_form")
    overrides: dict[str, Any] = {f"decoding.{name}": flags.pop(name) for name in names}
    overrides |= {f"transcript.{name}": flags.pop(name) for name in TRANSCRIPT_FLAGS}
    if (vad := flags.pop("vad_filter")) is not None:
        overrides["engine.vad"] = "on" if vad else "off"
    first, step = flags.pop("temperature"), flags.pop("temperature_increment_on_fallback")
    if first is not None or step is not None:
        start, step = first or 0.0, 0.2 if step is None else step
        count = int((1.0 + 1e-6 - start) / step) + 1 if step > 0 else 1
        temperatures = [round(start + index * step, 6) for index in range(count)]
        overrides["decoding.temperature"] = temperatures
    tokens = flags.pop("suppress_tokens")
    if tokens is not None and tokens.strip() != "-1":
        overrides["decoding.suppress_tokens"] = tokens
    return {key: value for key, value in overrides.items() if value is not None}


def _translate_precision(name: str) -> str:
    """Translate a precision of CTranslate2: the format of weights, then that of computations."""
    if name == "default":
        return "auto"
    return "int8" if name.startswith("int8_") else name
