"""`worker`: carries out batches for a dispatcher, on this machine or another."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from thoth_watch.cli.options import config_option, engine_options, log_options, overrides_of


@click.command(
    epilog="""\b
Examples:
  thoth-watch worker -c config.yaml
  CUDA_VISIBLE_DEVICES=1 thoth-watch worker -c config.yaml --name gpu1"""
)
@config_option
@engine_options
@log_options
@click.option("--name", help="Of this worker on this machine; unique there.")
def worker(config: Path | None, name: str | None, **flags: Any) -> None:
    """Carry out batches that `run` of another process sends, until stopped (SIGTERM, Ctrl-C).

    One worker for each device: with several GPUs, neither --name nor --device, and engine.device:
    auto, one is started for each. It needs dispatch.kind: celery in the same configuration, the
    recordings under the same path, and the ledger on PostgreSQL. SIGTERM lets the files under way
    end; the rest of the batch goes to others.
    """
    from thoth_watch.bootstrap import build_settings, run_worker
    from thoth_watch.infrastructure.service.gpu_workers import run_worker_per_gpu, visible_gpus
    from thoth_watch.infrastructure.service.logs import set_up_logging
    from thoth_watch.infrastructure.service.signals import stop_on_signals

    settings = build_settings(config, overrides_of(flags), required=True)
    set_up_logging(level=settings.log_level, log_format=settings.log_format)
    gpus = visible_gpus(os.environ) if settings.engine.device == "auto" and name is None else []
    if len(gpus) > 1 and settings.dispatch.is_celery:
        with stop_on_signals(lambda: None) as stop:
            sys.exit(run_worker_per_gpu(gpus, sys.argv[1:], should_stop=stop))
    sys.exit(run_worker(settings, name=name or f"worker{os.getpid()}"))
