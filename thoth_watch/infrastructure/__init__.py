"""Adapters: all access to files, databases, devices and networks. Each implements a port; none imports another."""
