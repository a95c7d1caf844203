"""What a well-behaved process does: clock, signals, lock, logging, facts about itself."""
