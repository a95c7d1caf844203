"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from thoth_watch.infrastructure.ledger.reading import LedgerReader
    from thoth_watch.infrastructure.settings import Settings

Command = Callable[..., Any]

CONFIG_HELP = "Configuration file; default: THOTH_WATCH_CONFIG"


def _config_option(text: str) -> Command:
    return click.option(
        "-c",
        "--config",
        "config",
        type=click.Path(path_type=Path, dir_okay=False),
        help=text,
    )


config_option = _config_option(f"{CONFIG_HELP}, else ./config.yaml.")
optional_config_option = _config_option(f"{CONFIG_HELP}, else none.")
unit_config_option = _config_option("Configuration file that the units use; default: see above.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")

ENGINE_FLAGS = {
    "engine_type": "engine.engine_type",
    "model": "engine.model",
    "revision": "engine.revision",
    "device": "engine.device",
    "precision": "engine.precision",
    "batch_size": "engine.batch_size",
    "language": "engine.language",
    "task": "engine.task",
    "fallback": "engine.fallback",
    "log_format": "log.format",
    "log_level": "log.level",
}


def option_spellings(*names: str) -> tuple[str, ...]:
    """Return each long option with underscores, as in openai/whisper, and with hyphens."""
    return tuple(
        spelling
        for name in names
        for spelling in dict.fromkeys((name, "--" + name[2:].replace("_", "-")))
    )


def engine_options(command: Command) -> Command:
    """Add `--engine --model --device --language ...`, named as in openai/whisper and related tools."""
    for option in reversed(
        (
            click.option(
                *option_spellings("--engine", "--engine_type"),
                "engine_type",
                type=click.Choice(["standard", "accelerated", "batch"]),
                help="Engine to use.",
            ),
            click.option(
                "--model",
                help="Model: builtin, a short name, a Hugging Face id, or a local folder.",
            ),
            click.option("--revision", help="Commit, tag or branch of a Hugging Face model."),
            click.option(
                "--device",
                help="Device: auto, cpu, cuda, cuda:1 or mps; a device given here is used without fallback.",
            ),
            click.option(
                *option_spellings("--precision", "--compute_type"),
                "precision",
                help="Precision: auto, float32, float16, bfloat16 or int8, or ENCODER+DECODER such as bfloat16+int8.",
            ),
            click.option(
                *option_spellings("--batch_size"),
                "batch_size",
                type=click.IntRange(min=1),
                help="Windows per forward pass; the default depends on the model and the memory.",
            ),
            click.option(
                "--language",
                help="Language code or English name of the language; detected by default.",
            ),
            click.option(
                "--task",
                type=click.Choice(["transcribe", "translate"]),
                help="Transcribe in the spoken language, or translate into English.",
            ),
            click.option(
                "--fallback",
                type=click.Choice(["never", "warn"]),
                help="Action if the requested engine is unavailable: warn (use the standard engine on the CPU)"
                " or never (exit with code 69).",
            ),
        )
    ):
        command = option(command)
    return command


def log_options(command: Command) -> Command:
    """Add `--log-format` and `--log-level`."""
    for option in reversed(
        (
            click.option(
                *option_spellings("--log_format"),
                "log_format",
                type=click.Choice(["text", "json"]),
                help="Format of log lines.",
            ),
            click.option(
                *option_spellings("--log_level"),
                "log_level",
                type=click.Choice(["debug", "info", "warning", "error"]),
                help="Minimum level of log lines.",
            ),
        )
    ):
        command = option(command)
    return command


def overrides_of(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that were given, by dotted configuration key."""
    return {ENGINE_FLAGS[name]: value for name, value in flags.items() if value is not None}


def settings_of(config: Path | None) -> Settings:
    """Return the settings for a command that only reads. Raises ConfigError if there is no configuration."""
    from thoth_watch.bootstrap import build_settings

    return build_settings(config, {}, required=True)


def open_reader(config: Path | None) -> LedgerReader:
    """Open the configured ledger for reading."""
    from thoth_watch.infrastructure.ledger.reading import LedgerReader

    return LedgerReader.open(settings_of(config).ledger_url)
