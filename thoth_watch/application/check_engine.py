"""Tries an engine before the service says that it is ready."""

from __future__ import annotations

from thoth_watch.application.ports import EngineSeconds, Recording, TranscriptionEngine
from thoth_watch.domain.errors import EngineUnavailable


def check_engine(engine: TranscriptionEngine, recording: Recording) -> None:
    """Transcribe one short recording. Raises EngineUnavailable where that does not work."""
    heard = list(
        engine.transcribe(
            [recording],
            seconds=EngineSeconds(),
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )
    )
    problem = next((one.error for one in heard if one.transcript is None), None)
    if len(heard) != 1 or problem is not None:
        raise EngineUnavailable(f"the engine failed its test: {problem or 'it gave no transcript'}")
