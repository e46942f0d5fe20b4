"""OAuth 2 with PKCE (RFC 6749, 7636, 8252): a person lets a program of this or another host fetch a key."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import delete, insert, select, update

from moot.id_encoding import new_id
from moot.server import clock
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.errors import Forbidden
from moot.server.identity import derived
from moot.server.identity.callers import INSTALL, Caller
from moot.server.identity.tokens import CODE, GRANTED, hash_of, new_token
from pyro_mcp.errors import InvalidRequest

CLIENT = "mootup-cli"
KEY_SECONDS = 3600
"""How long a program may use the key that it has fetched."""
_CODE_SECONDS = 60.0
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_grants = tables.grants


@dataclass(frozen=True)
class Wish:
    """What a program asks of a person. `redirect_uri` is where the program listens on the person's own host."""

    client_id: str
    redirect_uri: str
    scope: str
    state: str
    code_challenge: str


def wish_of(given: Mapping[str, str]) -> Wish:
    """Return the wish in the parameters of a request. Raises `InvalidRequest`."""
    wanted = {"response_type": "code", "client_id": CLIENT, "scope": INSTALL, "code_challenge_method": "S256"}
    for name, value in wanted.items():
        if given.get(name) != value:
            raise InvalidRequest(f"{name} must be {value}")
    uri, challenge, state = (given.get(name, "") for name in ("redirect_uri", "code_challenge", "state"))
    _require_loopback(uri)
    if not _CHALLENGE.fullmatch(challenge):
        raise InvalidRequest("code_challenge must be the SHA-256 of the verifier in base64url, without padding")
    if len(state) > 500 or not state.isascii() or not state.isprintable():
        raise InvalidRequest("state has at most 500 printable ASCII characters")
    return Wish(CLIENT, uri, INSTALL, state, challenge)


def _require_loopback(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        is_loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK and parts.port is not None
    except ValueError:
        is_loopback = False
    plain = len(uri) <= 2048 and uri.isascii() and uri.isprintable() and not set(uri) & set("#@\\ ;,'\"<>")
    if not is_loopback or not plain:
        raise InvalidRequest("redirect_uri must be an address of the person's own host: http://127.0.0.1:PORT/PATH")


def allow(tx: Transaction, caller: Caller, wish: Wish) -> str:
    """Return a code with which the program can fetch a key of the caller, once and soon.

    Raises `Forbidden` for an agent, and for a key that is not the person's own.
    """
    if not caller.is_human or not caller.credential_id.startswith(("pat_", "ses_")):
        raise Forbidden("Only a person may allow this")
    code = new_token(CODE)
    old = clock.seconds_from_now(-KEY_SECONDS - _CODE_SECONDS)  # the keys that were fetched with them have ended
    tx.execute(delete(_grants).where(_grants.c.expires_at <= old))
    what = {"client_id": wish.client_id, "redirect_uri": wish.redirect_uri, "challenge": wish.code_challenge}
    who = {"actor_id": caller.actor_id, "parent_id": derived.parent_of(tx, caller.credential_id)}
    ids = {"code_hash": hash_of(code), "grant_id": new_id("gra")}
    tx.execute(insert(_grants).values(**ids, **what, **who, expires_at=clock.seconds_from_now(_CODE_SECONDS)))
    return code


def fetch(tx: Transaction, given: Mapping[str, str]) -> str | None:
    """Return the key for a code; None for an invalid one. If a code is used twice, the key becomes invalid."""
    row = tx.first(select(_grants).where(_grants.c.code_hash == hash_of(given.get("code", ""))))
    if row is None:
        return None
    if row.used_at is not None:
        derived.revoke(tx, row.grant_id)
        return None
    tx.execute(update(_grants).where(_grants.c.grant_id == row.grant_id).values(used_at=tx.now))
    same = all(given.get(name) == getattr(row, name) for name in ("client_id", "redirect_uri"))
    if not same or row.expires_at <= tx.now or not _proves(given.get("code_verifier", ""), row.challenge):
        return None
    if not derived.is_valid(tx, row.parent_id):
        return None
    return derived.create(tx, row.actor_id, GRANTED, kind="oauth", parent_id=row.grant_id, seconds=KEY_SECONDS)


def _proves(verifier: str, challenge: str) -> bool:
    digest = hashlib.sha256(verifier.encode()).digest()
    made = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return bool(_VERIFIER.fullmatch(verifier)) and secrets.compare_digest(made, challenge)
