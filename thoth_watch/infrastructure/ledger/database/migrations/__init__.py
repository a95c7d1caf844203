"""Schema migrations, applied when a ledger is opened; downgrades are only run manually."""
