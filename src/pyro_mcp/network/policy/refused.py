"""Refusals of what a guest wants to reach."""

from __future__ import annotations


class Refused(Exception):
    """A refusal; the message is the reason that the guest may see, `logged` the one for the log."""

    def __init__(self, message: str, logged: str = "") -> None:
        super().__init__(message)
        self.logged = logged or message


class NoConnection(Refused):
    """An allowed connection that could not be made; the message says why."""
