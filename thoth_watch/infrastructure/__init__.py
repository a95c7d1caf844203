"""Adapters: everything that touches the world. Each fits a port; none knows another."""
