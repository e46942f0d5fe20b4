"""Host names, addresses and the host's routes."""
