"""The first start of a server on an empty database."""

from __future__ import annotations

import getpass

from moot.server.admin.accounts import NewUser, add_user, is_empty
from moot.server.database.transaction import Transaction


def first_user(tx: Transaction) -> NewUser | None:
    """Make the first person, with all that a team needs, in an empty database; None in any other."""
    return add_user(tx, _name(), is_admin=True) if is_empty(tx) else None


def welcome(user: NewUser, address: str) -> str:
    """Return what the first start prints, once: the address, the token, and what to do with them."""
    return "\n".join(
        [
            f"{user.name} is the first user of this server; its token is shown only now:",
            "",
            f"  {address}",
            f"  {user.token}",
            "",
            f"In the folder of a project: moot login --api-url {address}   (paste the token)",
            f"                            moot init                        ({len(user.agents)} agents wait for keys)",
            "",
        ]
    )


def _name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
