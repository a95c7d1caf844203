"""The schema's history: forward only, applied when a ledger is opened."""
