"""Builds what an engine process needs: ledger, decoder, engine and publishing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from thoth_watch.application.ports.dispatch import Leases
from thoth_watch.application.ports.engine import EnginePool, Progress
from thoth_watch.bootstrap.dispatchers import build_cache, open_ledger
from thoth_watch.bootstrap.engines import (
    Engines,
    LazyVoiceActivityDetector,
    build_decoder,
    build_diarization,
)
from thoth_watch.bootstrap.load_settings import batch_limit, provenance

if TYPE_CHECKING:
    from thoth_watch.application.publish_unchanged import PublishUnchanged
    from thoth_watch.application.transcribe_batch import TranscribeBatch
    from thoth_watch.infrastructure.audio import WorkerDecoder
    from thoth_watch.infrastructure.dispatch.engine_process import ParentConnection
    from thoth_watch.infrastructure.ledger import SqlLedger
    from thoth_watch.infrastructure.settings import Settings

LAUNCHERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def run_engine_process(
    connection: Connection, settings: Settings, device: str, n_threads: int
) -> None:
    """Process batches with the configured engine on one device until the parent closes the connection.

    n_threads: CPU threads that torch uses.
    """
    from thoth_watch.infrastructure.dispatch.engine_process import serve_batches

    for name in LAUNCHERS:
        os.environ.pop(
            name, None
        )  # a single process with one device is not part of a process group
    os.environ.setdefault("OMP_NUM_THREADS", str(n_threads))  # read when torch is imported
    serve_batches(connection, partial(_build, settings, device))


def _build(settings: Settings, device: str, parent: ParentConnection) -> TranscribeBatch:
    """Load and check the engine, then build the rest. Raises EngineUnavailable."""
    from thoth_watch.application.check_engine import check_engine
    from thoth_watch.infrastructure.audio.tone import one_second_tone
    from thoth_watch.infrastructure.dispatch.engine_process import ParentProgress
    from thoth_watch.infrastructure.service.logs import set_up_logging

    set_up_logging(level=settings.log_level, log_format=settings.log_format)
    settings = replace(settings, engine=replace(settings.engine, device=device))
    engines = Engines(settings.engine)
    check_engine(engines.engine(settings.engine.model), one_second_tone())
    return build_transcribe_batch(
        settings,
        ledger=open_ledger(settings),
        decoder=build_decoder(settings.audio),
        engines=engines,
        progress=ParentProgress(parent),
    )


def build_publish(settings: Settings, ledger: SqlLedger) -> PublishUnchanged:
    """Build the use case that publishes results as transcript files."""
    from thoth_watch.application.publish_transcript import PublishTranscript
    from thoth_watch.application.publish_unchanged import PublishUnchanged
    from thoth_watch.infrastructure.inbox.local_files import LocalFiles
    from thoth_watch.infrastructure.publishing import DurablePublisher, render
    from thoth_watch.infrastructure.service.clock import SystemClock

    publish = PublishTranscript(
        results=ledger.results,
        publisher=DurablePublisher(),
        render=partial(render, layout=settings.subtitles),
        clock=SystemClock(),
    )
    return PublishUnchanged(publish, files=LocalFiles())


def build_transcribe_batch(
    settings: Settings,
    *,
    ledger: SqlLedger,
    decoder: WorkerDecoder,
    engines: EnginePool,
    progress: Progress,
    leases: Leases | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> TranscribeBatch:
    """Build the use case that transcribes one batch at a time with the engines of this process.

    leases: of a ledger shared by Celery workers. is_stopping: when true, no further file starts.
    """
    from thoth_watch.application.detect_speech import RecordingReader
    from thoth_watch.application.known_results import KnownResults
    from thoth_watch.application.transcribe_batch import BatchOptions, TranscribeBatch
    from thoth_watch.infrastructure.service.clock import SystemClock
    from thoth_watch.infrastructure.service.process import host_name, peak_rss_bytes

    clock = SystemClock()
    has_time = batch_limit(settings, clock)
    return TranscribeBatch(
        runs=ledger.runs,
        known=KnownResults(ledger.results, leases=leases, cache=build_cache(settings)),
        reader=RecordingReader(decoder, LazyVoiceActivityDetector(), build_diarization(settings)),
        engines=engines,
        publish=build_publish(settings, ledger),
        clock=clock,
        progress=progress,
        options=BatchOptions(
            host=host_name(),
            provenance=provenance(settings),
            peak_rss_bytes=peak_rss_bytes,
            may_start_file=lambda batch_s: not is_stopping() and has_time(batch_s),
            writes_synchronously=leases is not None,
        ),
    )
