"""The only package that selects adapters. Heavy ones are imported inside the functions that build them."""

from thoth_watch.bootstrap.dispatchers import build_wire
from thoth_watch.bootstrap.engine_benchmark import TargetProcess, ThothTarget
from thoth_watch.bootstrap.engines import (
    BUILTIN_MODEL,
    SAMPLES,
    Engines,
    LazyVoiceActivityDetector,
    audio_file,
    build_decoder,
    build_diarization,
    build_engine,
)
from thoth_watch.bootstrap.ledger_maintenance import (
    RebuildResult,
    back_up_ledger,
    check_ledger,
    rebuild_ledger,
    retry_files,
)
from thoth_watch.bootstrap.load_settings import (
    DEMO_NOTICE,
    build_inbox,
    build_settings,
    builtin_note,
    file_options_resolver,
    provenance,
)
from thoth_watch.bootstrap.named_files import build_transcribe_files
from thoth_watch.bootstrap.readers import build_report, ledger_stats_reader, this_machine
from thoth_watch.bootstrap.service import build_service
from thoth_watch.bootstrap.worker import run_worker

__all__ = [
    "BUILTIN_MODEL",
    "DEMO_NOTICE",
    "SAMPLES",
    "Engines",
    "LazyVoiceActivityDetector",
    "RebuildResult",
    "TargetProcess",
    "ThothTarget",
    "audio_file",
    "back_up_ledger",
    "build_decoder",
    "build_diarization",
    "build_engine",
    "build_inbox",
    "build_report",
    "build_service",
    "build_settings",
    "build_transcribe_files",
    "build_wire",
    "builtin_note",
    "check_ledger",
    "file_options_resolver",
    "ledger_stats_reader",
    "provenance",
    "rebuild_ledger",
    "retry_files",
    "run_worker",
    "this_machine",
]
