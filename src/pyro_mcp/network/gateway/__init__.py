"""The two processes of a gateway, starting them, and controlling them."""
