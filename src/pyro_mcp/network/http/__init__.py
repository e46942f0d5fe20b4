"""Connections that the gateway looks into: the host name of TLS and HTTP, and the TLS proxy that puts secrets in."""
