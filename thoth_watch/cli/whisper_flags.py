"""Flags of the whisper family, so that its users' command lines work here by changing the program's name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from thoth_watch.cli.options import spelled

# What this program's decoder has no use for: it decodes greedily, without a prompt, and times segments.
NOT_USED: dict[str, Any] = {
    **dict.fromkeys(("best_of", "beam_size", "max_line_width", "max_line_count"), int),
    **dict.fromkeys(("max_words_per_line", "speaker_num", "num_workers"), int),
    **dict.fromkeys(("patience", "length_penalty", "temperature_increment_on_fallback"), float),
    **dict.fromkeys(("compression_ratio_threshold", "logprob_threshold"), float),
    **dict.fromkeys(("no_speech_threshold", "hallucination_silence_threshold"), float),
    **dict.fromkeys(("suppress_tokens", "initial_prompt", "clip_timestamps", "hotwords"), str),
    **dict.fromkeys(("prepend_punctuations", "append_punctuations", "hf_token"), str),
    **dict.fromkeys(("carry_initial_prompt", "condition_on_previous_text"), bool),
    **dict.fromkeys(("word_timestamps", "highlight_words", "vad_filter", "multilingual"), bool),
    **dict.fromkeys(("pretty_json", "print_progress", "batched"), bool),
}
AS_WE_DO = {  # asks for what is done anyway: nothing to be said
    "temperature": 0.0,
    "beam_size": 1,
    "word_timestamps": False,
    "highlight_words": False,
    "condition_on_previous_text": False,
    "carry_initial_prompt": False,
    "vad_filter": False,
}

USED = (
    click.option(
        *spelled("--model_dir"),
        "model_dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where models of the hub are kept.",
    ),
    click.option(
        "--fp16", type=bool, help="True: half precision where the device can; False: float32."
    ),
    click.option(
        "--threads", type=click.IntRange(min=0), help="CPU threads; 0 leaves it to torch."
    ),
    click.option("--verbose", type=bool, help="False: neither progress nor text."),
    click.option(
        *spelled("--device_index"), "device_index", type=click.IntRange(min=0), help="Which GPU."
    ),
    click.option(
        *spelled("--local_files_only"), "local_files_only", type=bool, help="True: ask no hub."
    ),
    click.option("--temperature", type=float, help="0, which it always is."),
)


def whisper_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the family's flags: those that are used, and, hidden, those that are only named in a note."""
    for name, kind in reversed(NOT_USED.items()):
        command = click.option(*spelled(f"--{name}"), name, type=kind, hidden=True)(command)
    for option in reversed(USED):
        command = option(command)
    return command


def take_out(flags: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Remove the family's flags; what they mean for the configuration, and a note on what was not used.

    Some are for libraries that read the environment when they are imported, which is still to come.
    """
    given = {
        name: flags.pop(name)
        for name in ("model_dir", "fp16", "threads", "device_index", "local_files_only")
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
    }
    os.environ.update({name: value for name, value in environment.items() if value})
    if (precision := flags.get("precision")) is not None:
        flags["precision"] = _precision(precision)
    asked = {name: flags.pop(name) for name in (*NOT_USED, "temperature")}
    unused = [n for n, v in asked.items() if v is not None and AS_WE_DO.get(n) != v]
    note = ""
    if unused:
        names = ", ".join(f"--{name}" for name in unused)
        note = f"{names}: not used here; decoding is greedy, without a prompt, in segments"
    return overrides, note


def _precision(word: str) -> str:
    """ctranslate2's words: the format of weights, then that of what is computed."""
    if word == "default":
        return "auto"
    return "int8" if word.startswith("int8_") else word
