"""Builds the builtin Whisper checkpoint from scratch: synthetic speech, training, evaluation."""
