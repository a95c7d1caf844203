"""Where somebody speaks in a recording."""

from thoth_watch.infrastructure.voice.silero import SileroVoiceActivity

__all__ = ["SileroVoiceActivity"]
