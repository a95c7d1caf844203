"""Decode the tokens of windows, and read text, times and words from them."""
