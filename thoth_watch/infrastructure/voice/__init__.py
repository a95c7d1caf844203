"""Voice activity detection (VAD)."""

from thoth_watch.infrastructure.voice.silero import SileroVoiceActivity

__all__ = ["SileroVoiceActivity"]
