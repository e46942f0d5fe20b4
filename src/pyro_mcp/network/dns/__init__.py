"""DNS messages, and lookups by the host's own resolver."""
