"""DNS messages, and the host's own resolver."""
