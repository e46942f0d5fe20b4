"""Keys: a known prefix and 256 random bits. The database has only their SHA-256, which no dictionary can invert."""

from __future__ import annotations

import hashlib
import secrets

PERSONAL = "mootup_pat_"
"""How a personal access token of a person begins."""
AGENT = "convo_"
"""How the key of an agent begins."""
SESSION = "moot_session_"
"""How the key of a browser's session begins."""
GRANTED = "moot_oauth_"
"""How a key begins that a person has let a program fetch."""
CODE = "moot_code_"
"""How a code begins that is used once: an invitation, or the right to fetch a key."""
_SHOWN = 8


def new_token(beginning: str) -> str:
    """Return a new key that begins as its kind does."""
    return f"{beginning}{secrets.token_urlsafe(32)}"


def hash_of(token: str) -> str:
    """Return what the database has of a key."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def shown_prefix(token: str) -> str:
    """Return the beginning of a key that may be shown: of an agent's key 8 characters, of a PAT 8 after its prefix."""
    return token[: len(PERSONAL) + _SHOWN] if token.startswith(PERSONAL) else token[:_SHOWN]
