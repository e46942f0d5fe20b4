"""Supervision of a gateway by another process of the host, which records each decision before it takes effect."""
