"""Process infrastructure: clock, signals, locks, logging, systemd notifications, GPU workers."""
