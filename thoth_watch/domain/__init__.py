"""What a recording, a batch, a run and a transcript are. Standard library only; no I/O, no clock, no logging."""
