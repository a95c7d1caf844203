"""The only place that picks adapters. Heavy ones are imported inside the functions that build them."""

from thoth_watch.bootstrap.configuring import (
    DEMONSTRATION,
    build_settings,
    builtin_note,
    inbox_of,
    provenance,
    treatment_finder,
)
from thoth_watch.bootstrap.engines import (
    BUILTIN_MODEL,
    SAMPLES,
    Engines,
    Voice,
    audio_file,
    build_decoder,
    build_engine,
)
from thoth_watch.bootstrap.looking import build_report, figures_finder, this_machine
from thoth_watch.bootstrap.named_files import build_transcribe_files
from thoth_watch.bootstrap.rebuilding import Rebuilt, rebuild_ledger
from thoth_watch.bootstrap.service import Silence, build_service
from thoth_watch.bootstrap.timing import ThisProgram, Timed

__all__ = [
    "BUILTIN_MODEL",
    "DEMONSTRATION",
    "SAMPLES",
    "Engines",
    "Rebuilt",
    "Silence",
    "ThisProgram",
    "Timed",
    "Voice",
    "audio_file",
    "build_decoder",
    "build_engine",
    "build_report",
    "build_service",
    "build_settings",
    "build_transcribe_files",
    "builtin_note",
    "figures_finder",
    "inbox_of",
    "provenance",
    "rebuild_ledger",
    "this_machine",
    "treatment_finder",
]
