"""`model list`, `model pull` and `model check`: list, download and load Whisper models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from thoth_watch.cli.options import (
    config_option,
    engine_options,
    json_option,
    optional_config_option,
    overrides_of,
    settings_of,
)


@click.group(
    epilog="""\b
Examples:
  thoth-watch model list
  thoth-watch model pull small
  thoth-watch model check --model small"""
)
def model() -> None:
    """List, download and check Whisper models."""


@model.command(
    "list",
    epilog="""\b
Examples:
  thoth-watch model list
  thoth-watch model list --json""",
)
@json_option
def list_(as_json: bool) -> None:
    """List known models with their size and memory requirement.

    Other Whisper models on the Hugging Face Hub work, too.
    """
    from thoth_watch.bootstrap import BUILTIN_MODEL
    from thoth_watch.cli.tables import Column, print_json, print_table
    from thoth_watch.infrastructure.models import MODELS, cache_folder, is_cached

    rows: list[dict[str, Any]] = [
        {
            "name": known.name,
            "id": known.hub_id,
            "download_mb": known.download_mb,
            "memory_gib": known.memory_gib,
            "is_here": is_cached(known.hub_id),
            "remark": known.remark,
        }
        for known in MODELS
    ]
    if as_json:
        print_json(rows)
        return
    columns = [Column("name"), Column("id"), Column("MB", is_number=True)]
    columns += [
        Column("memory", is_number=True),
        Column("cached"),
        Column("remark", is_wrapped=True),
    ]
    print_table(
        columns,
        [
            (
                row["name"],
                row["id"],
                str(row["download_mb"]),
                f"{row['memory_gib']} GiB",
                "yes" if row["is_here"] else "no",
                row["remark"],
            )
            for row in rows
        ],
        empty="",
    )
    bundled = "is bundled with the program" if BUILTIN_MODEL.is_dir() else "is not bundled"
    click.echo(f"\nbuiltin (for demonstration only, 159 English words) {bundled}")
    click.echo(f"model cache: {cache_folder()}")


@model.command(
    epilog="""\b
Examples:
  thoth-watch model pull small
  thoth-watch model pull openai/whisper-large-v3-turbo --revision main
  sudo -u thoth-watch HF_HOME=/var/cache/thoth-watch/huggingface thoth-watch model pull small"""
)
@click.argument("name", required=False)
@config_option
@click.option("--revision", help="Commit, tag or branch of the model.")
def pull(name: str | None, config: Path | None, revision: str | None) -> None:
    """Download a model for use without network access.

    Without NAME, the configured model is downloaded.
    """
    from thoth_watch.infrastructure.models import MODELS, suggest_name
    from thoth_watch.infrastructure.models import pull as fetch

    if name is None:
        engine = settings_of(config).engine
        name, revision = engine.model, revision or engine.revision
    if name == "builtin" or Path(name).is_dir():
        click.echo(f"{name}: nothing to download")
        return
    known = {model.name: model for model in MODELS}
    hub_id = known[name].hub_id if name in known else name
    if near := suggest_name(name):
        click.echo(f"thoth-watch: {name}: did you mean {near}?", err=True)
    size = f", about {known[name].download_mb} MB" if name in known else ""
    click.echo(f"downloading {hub_id}{size}", err=True)
    click.echo(fetch(hub_id, revision=revision))


@model.command(
    epilog="""\b
Examples:
  thoth-watch model check
  thoth-watch model check --model ./my-whisper --device cpu --json"""
)
@optional_config_option
@engine_options
@json_option
def check(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Load a model and show its device and loading time.

    The model is loaded in the same way as by `run`. Exits with code 69 if it is unavailable.
    """
    from thoth_watch.bootstrap import BUILTIN_MODEL, build_engine, build_settings
    from thoth_watch.cli.tables import print_json
    from thoth_watch.infrastructure.whisper.loading.checkpoint import find_checkpoint, hash_weights

    settings = build_settings(config, overrides_of(flags), required=False)
    engine = build_engine(settings.engine)
    used, requested = engine.placement, settings.engine
    checkpoint = find_checkpoint(
        requested.model, revision=requested.revision, builtin=BUILTIN_MODEL
    )
    facts = {
        "model": used.model,
        "revision": used.model_revision,
        "weights_sha256": hash_weights(checkpoint.folder),
        "engine": used.engine,
        "device": used.device,
        "precision": used.precision,
        "load_s": round(engine.load_s, 2),
        "fallbacks": [fallback.as_dict() for fallback in engine.fallbacks],
    }
    if as_json:
        print_json(facts)
        return
    click.echo(f"{used.model} ({used.model_revision}) loaded in {engine.load_s:.1f} s")
    click.echo(f"{used.engine} on {used.device} ({used.device_name}) in {used.precision}")
    click.echo(f"to reject any other weights, set engine.weights_sha256: {facts['weights_sha256']}")
    for fallback in engine.fallbacks:
        click.echo(f"{fallback.used} instead of {fallback.requested}: {fallback.reason}", err=True)
