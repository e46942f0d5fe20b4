"""The settings of git in a bottle: the author of commits, and the trust in the tree. No credential enters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from claude_bottle.backend.interface import Steps
from claude_bottle.gate.remotes import Remote
from claude_bottle.provision.git_config import config_files, gate_settings, guest_config
from claude_bottle.provision.supervise import provision_supervise
from pyro_mcp.host.files import temporary_folder

_GIVE = 'chown "$(stat -c %u:%g "$1")" "$2" && chmod 644 "$2"'
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\b": "\\b"}


def provision_git(
    guest: Steps, *, user_name: str, user_email: str, tree: str, remotes: Sequence[Remote] = (), copied: str = ""
) -> None:
    """Write git's settings of the user: `user_name` and `user_email`, and `tree` as a safe folder.

    All addresses of `remotes` lead to the git gate. `copied` is the folder of this host that the tree is a copy of, ""
    for none. The copy lacks the settings of its repositories; this writes new ones.
    """
    lines = [
        "[user]",
        f"\tname = {_quoted(user_name)}",
        f"\temail = {_quoted(user_email)}",
        "[safe]",
        f"\tdirectory = {_quoted(tree)}",
        *gate_settings(remotes),
    ]
    provision_supervise(guest, {f"{guest.home}/.gitconfig": "\n".join(lines) + "\n"})

    if copied:
        _replace_configs(guest, Path(copied), tree, remotes)


def _replace_configs(guest: Steps, copied: Path, tree: str, remotes: Sequence[Remote]) -> None:
    """Write the settings of the copied repositories; their owner is the owner of the tree."""
    with temporary_folder() as scratch:
        for path in config_files(copied):
            written = scratch / "config"
            written.write_bytes(guest_config(copied / path, remotes))
            guest.copy_in(str(written), f"{tree}/{path}")
            guest.run(["/bin/sh", "-c", _GIVE, "sh", tree, f"{tree}/{path}"])


def _quoted(text: str) -> str:
    """Return a value quoted for git-config(1)."""
    return '"' + "".join(_ESCAPES.get(one, one) for one in text) + '"'
