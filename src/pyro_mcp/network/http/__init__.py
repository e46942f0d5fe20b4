"""Inspection of connections: the server name in TLS and HTTP, and the TLS proxy that inserts secrets."""
