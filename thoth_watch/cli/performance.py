"""`performance`: print the engine's device information as one JSON document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from thoth_watch.cli.options import engine_options, optional_config_option, overrides_of


@click.command(
    epilog="""\b
Examples:
  thoth-watch performance
  thoth-watch performance --engine batch --device cuda | jq .performance"""
)
@optional_config_option
@engine_options
@click.option(
    "--json", "as_json", is_flag=True, help="Accepted for consistency; the output is always JSON."
)
def performance(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Load the engine and print its device information as JSON."""
    from thoth_watch.bootstrap import build_engine, build_settings
    from thoth_watch.infrastructure.service.process import host_name, peak_rss_bytes

    del as_json
    settings = build_settings(config, overrides_of(flags), required=False)
    engine = build_engine(settings.engine)
    document = {
        "status": "degraded" if engine.fallbacks else "healthy",
        "performance": engine.get_device_info(),
        "audio_config": {
            "sample_rate": settings.audio.sample_rate,
            "buffer_duration": settings.audio.buffer_duration,
        },
        "load_s": round(engine.load_s, 3),
        "peak_rss_bytes": peak_rss_bytes(),
        "fallbacks": [fallback.as_dict() for fallback in engine.fallbacks],
        "host": host_name(),
    }
    click.echo(json.dumps(document, indent=2, default=str))
