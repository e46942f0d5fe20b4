"""Messages between the two processes of a gateway."""
