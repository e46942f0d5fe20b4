"""Keys: a known prefix and 256 random bits. The database has only their SHA-256, which no dictionary can invert."""

from __future__ import annotations

import hashlib
import secrets

PERSONAL = "mootup_pat_"
"""How a personal access token of a person begins."""
AGENT = "convo_"
"""How the key of an agent begins."""
_SHOWN = 8


def new_token(beginning: str) -> str:
    """Return a new key that begins with `PERSONAL` or `AGENT`."""
    return f"{beginning}{secrets.token_urlsafe(32)}"


def hash_of(token: str) -> str:
    """Return what the database has of a key."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def shown_prefix(token: str) -> str:
    """Return the beginning of a key that may be shown: of an agent's key 8 characters, of a PAT 8 after its prefix."""
    return token[: len(PERSONAL) + _SHOWN] if token.startswith(PERSONAL) else token[:_SHOWN]
