"""Tests of the whole program, run as processes."""
