"""The domain: recordings, batches, runs and transcripts. Standard library only; no I/O, no clock, no logging."""
