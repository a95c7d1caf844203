"""Benchmarks that compare whole engines on this machine in one run."""
