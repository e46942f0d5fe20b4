"""The settings of git in a bottle: the author of commits, and the trust in the tree. No credential enters."""

from __future__ import annotations

from claude_bottle.backend.interface import Guest
from claude_bottle.provision.supervise import provision_supervise

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\b": "\\b"}


def provision_git(guest: Guest, *, user_name: str, user_email: str, tree: str) -> None:
    """Write git's settings of the user: `user_name` and `user_email`, and `tree` as a safe folder."""
    lines = [
        "[user]",
        f"\tname = {_quoted(user_name)}",
        f"\temail = {_quoted(user_email)}",
        "[safe]",
        f"\tdirectory = {_quoted(tree)}",
    ]
    provision_supervise(guest, {f"{guest.home}/.gitconfig": "\n".join(lines) + "\n"})


def _quoted(text: str) -> str:
    """Return a value quoted for git-config(1)."""
    return '"' + "".join(_ESCAPES.get(one, one) for one in text) + '"'
