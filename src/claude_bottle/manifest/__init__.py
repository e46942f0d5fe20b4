"""The manifest: bottles and the agents that run in them, from JSON or TOML."""


class Manifest:
    """All bottles and agents of a user and a project."""
