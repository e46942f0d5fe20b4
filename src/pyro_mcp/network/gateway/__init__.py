"""The two processes of a machine's gateway, and starting and asking them."""
