"""Host names, addresses, and the routes of a network namespace."""
