"""The schema's history, applied when a ledger is opened; downgrades are for those who go back by hand."""
