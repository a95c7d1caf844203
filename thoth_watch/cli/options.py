"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from thoth_watch.infrastructure.ledger import LedgerReader
    from thoth_watch.infrastructure.settings import Settings

Command = Callable[..., Any]

CONFIG_HELP = "The configuration file; else THOTH_WATCH_CONFIG"


def _config_option(text: str) -> Command:
    return click.option(
        "-c",
        "--config",
        "config",
        type=click.Path(path_type=Path, dir_okay=False),
        help=text,
    )


config_option = _config_option(f"{CONFIG_HELP}, else ./config.yaml.")
optional_config_option = _config_option(f"{CONFIG_HELP}, else the defaults.")
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
    """Each long option with underscores, as the whisper family writes it, and with hyphens."""
    both = [n for name in names for n in dict.fromkeys((name, "--" + name[2:].replace("_", "-")))]
    return tuple(both)


def engine_options(command: Command) -> Command:
    """`--engine --model --device --language ...`: what the whisper family calls them."""
    for option in reversed(
        (
            click.option(
                *option_spellings("--engine", "--engine_type"),
                "engine_type",
                type=click.Choice(["standard", "accelerated", "batch"]),
                help="Which engine.",
            ),
            click.option("--model", help="builtin, a Hugging Face id, or a local folder."),
            click.option("--revision", help="Commit, tag or branch of a Hugging Face id."),
            click.option(
                "--device", help="auto, cpu, cuda, cuda:1, mps; never replaced when named here."
            ),
            click.option(
                *option_spellings("--precision", "--compute_type"),
                "precision",
                help="auto, float32, float16, bfloat16, int8; two joined by + for encoder and decoder.",
            ),
            click.option(
                *option_spellings("--batch_size"),
                "batch_size",
                type=click.IntRange(min=1),
                help="Windows that share a forward pass; by model and memory if not given.",
            ),
            click.option(
                "--language", help="Language code or English name; detected if not given."
            ),
            click.option(
                "--task", type=click.Choice(["transcribe", "translate"]), help="Whisper's task."
            ),
            click.option(
                "--fallback",
                type=click.Choice(["never", "warn"]),
                help="Whether the standard engine on the CPU may stand in.",
            ),
        )
    ):
        command = option(command)
    return command


def log_options(command: Command) -> Command:
    """`--log-format` and `--log-level`."""
    for option in reversed(
        (
            click.option(
                *option_spellings("--log_format"),
                "log_format",
                type=click.Choice(["text", "json"]),
                help="Log lines.",
            ),
            click.option(
                *option_spellings("--log_level"),
                "log_level",
                type=click.Choice(["debug", "info", "warning", "error"]),
                help="How much is logged.",
            ),
        )
    ):
        command = option(command)
    return command


def overrides_of(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, by the configuration's dotted keys."""
    return {ENGINE_FLAGS[name]: value for name, value in flags.items() if value is not None}


def settings_of(config: Path | None) -> Settings:
    """The configuration of a command that only asks. Raises ConfigError where there is none."""
    from thoth_watch.bootstrap import build_settings

    return build_settings(config, {}, required=True)


def open_reader(config: Path | None) -> LedgerReader:
    """The ledger of that configuration, to be read."""
    from thoth_watch.infrastructure.ledger import LedgerReader

    return LedgerReader.open(settings_of(config).ledger_url)
