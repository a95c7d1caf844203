"""The neural networks: their layers, weights and KV caches."""
