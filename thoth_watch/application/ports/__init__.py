"""The ports of the use cases, one module per user; adapters in `infrastructure/` implement them structurally."""
