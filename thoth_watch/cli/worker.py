"""`worker`: run batches for a dispatcher, on this machine or another."""

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
@click.option("--name", help="Worker name, unique on this host.")
def worker(config: Path | None, name: str | None, **flags: Any) -> None:
    """Run batches sent by a dispatcher until stopped.

    The dispatcher is a `run` process, on this machine or another. The dispatcher and its workers
    need the same configuration (with dispatch.kind set to celery), access to the recordings under
    the same path, and a ledger on PostgreSQL. Start one worker per device. If the machine has
    several GPUs, engine.device is auto, and neither --name nor --device is given, one worker is
    started for each GPU. SIGTERM or Ctrl-C stops the worker: it finishes the files in progress and
    releases the rest of the batch to other workers.
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
