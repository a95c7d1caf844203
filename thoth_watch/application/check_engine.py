"""Tests an engine before the service reports that it is ready."""

from __future__ import annotations

from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import EngineSeconds, TranscriptionEngine
from thoth_watch.domain.errors import EngineUnavailable


def check_engine(engine: TranscriptionEngine, recording: Recording) -> None:
    """Transcribe one short recording. Raises EngineUnavailable if that fails."""
    results = list(
        engine.transcribe(
            [recording],
            seconds=EngineSeconds(),
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )
    )
    problem = next((result.error for result in results if result.transcript is None), None)
    if len(results) != 1 or problem is not None:
        raise EngineUnavailable(
            f"engine self-test failed: {problem or 'no transcript was returned'}"
        )
