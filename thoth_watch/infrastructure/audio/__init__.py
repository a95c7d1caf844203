"""Read recordings: open them without following symlinks and decode them in a separate process."""

from thoth_watch.infrastructure.audio.limits import DecodeLimits
from thoth_watch.infrastructure.audio.worker_decoder import WorkerDecoder

__all__ = ["DecodeLimits", "WorkerDecoder"]
