"""Speaker diarization."""

from thoth_watch.infrastructure.speakers.pyannote import (
    CONFIG,
    PyannoteDiarization,
    require_package,
)

__all__ = ["CONFIG", "PyannoteDiarization", "require_package"]
