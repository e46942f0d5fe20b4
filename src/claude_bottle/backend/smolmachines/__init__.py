"""Bottles in machines of smolvm, started by its command line."""
