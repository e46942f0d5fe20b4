"""The first start of a server on an empty database."""

from __future__ import annotations

import getpass

from moot.server.admin.accounts import FIRST_TEMPLATE, NewUser, add_user, is_empty
from moot.server.admin.templates import roles_of
from moot.server.database.transaction import Transaction
from moot.server.identity.names import SERVER, is_one_line

_OTHERWISE = "operator"


def first_user(tx: Transaction) -> NewUser | None:
    """Make the first person, with all that a team needs, in an empty database; None in any other."""
    return add_user(tx, first_name(), is_admin=True) if is_empty(tx) else None


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


def first_name() -> str:
    """Return the login name of this user, or another one when an agent has it or it cannot be shown."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return _OTHERWISE
    agents = {one.casefold() for one in (*roles_of(FIRST_TEMPLATE).values(), SERVER)}
    return _OTHERWISE if name.casefold() in agents or not is_one_line(name) else name
