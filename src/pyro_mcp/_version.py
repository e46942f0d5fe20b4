"""The version, in a module of its own: reading it from the installed metadata takes longer than a command may."""

from __future__ import annotations

__version__ = "0.1.0"
