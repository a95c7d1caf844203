"""The whole program, as processes."""
