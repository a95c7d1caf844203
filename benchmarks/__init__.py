"""Timings: whole engines side by side, on this machine, in one run."""
