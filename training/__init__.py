"""Makes thoth_watch's builtin Whisper checkpoint from nothing: synthetic speech, training, figures."""
