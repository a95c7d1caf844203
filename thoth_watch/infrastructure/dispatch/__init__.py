"""Dispatchers: run claimed batches in a thread, in processes, or on remote workers."""
