"""What to do when a command failed for the want of something that an agent can get."""

from __future__ import annotations

import re

from pyro_mcp.results import CommandEnd

_SHOWN = 8192
# As dash, bash, env and our agent say it.
_NOT_FOUND = re.compile(r"([\w.+-]+)['\u2019`]?: (?:(?:command )?not found|No such file or directory)")
_NO_MODULE = re.compile(r"No module named '?(?:pip|venv|ensurepip|virtualenv)\b|ensurepip is not\s+available")
NO_NETWORK = re.compile(
    r"Temporary failure (?:in name resolution|resolving)|Could not resolve|Name or service not known|bad address"
    r"|EAI_AGAIN|ENOTFOUND|dns error|Network is unreachable|Failed to establish a new connection|NameResolutionError",
    re.IGNORECASE,
)
"""What programs say that reach nobody."""
_PYTHON = "the environments debian:12 and debian:12-build have pip, venv and uv"
_COMPILERS = "the environment debian:12-build has compilers and make"
_NODE = "Node.js is Debian's package nodejs, npm its package npm; {install}"
_APT = "{program} may be a Debian package; {install}"
_INSTALL = "install it with apt-get, and 'pyro env save' keeps what is installed for other workspaces"
_NETWORK = "this machine has no network: 'run --network' or 'workspace create --network-policy egress' gives it one"

# What is missing, and what has it.
_HAS: dict[str, str] = {
    **dict.fromkeys(("pip", "pip3", "uv", "uvx", "virtualenv"), _PYTHON),
    **dict.fromkeys(("cc", "gcc", "g++", "c++", "make", "pkg-config"), _COMPILERS),
    **dict.fromkeys(("node", "nodejs", "npm", "npx", "yarn", "pnpm"), _NODE),
    **dict.fromkeys(("cargo", "rustc", "go", "java", "ruby", "php", "psql", "sqlite3", "jq", "rg", "vim"), _APT),
}


def with_hint(end: CommandEnd, *, has_network: bool, limit_seconds: float) -> CommandEnd:
    """The result with what would help, if a table here knows it."""
    return {**end, "hint": _hint(end, has_network=has_network, limit_seconds=limit_seconds)}


def _hint(end: CommandEnd, *, has_network: bool, limit_seconds: float) -> str | None:
    if end["timed_out"]:
        return f"killed after {limit_seconds:g} s; --timeout-seconds gives it longer"
    if end["exit_code"] == 0:
        return None
    said = f"{end['stdout'][-_SHOWN:]}\n{end['stderr'][-_SHOWN:]}"
    hint = None
    if _NO_MODULE.search(said):
        hint = _PYTHON
    elif end["exit_code"] == 127:
        hint = next((known for program in _missing(said) if (known := _known(program)) is not None), None)
    if not has_network and (NO_NETWORK.search(said) or (hint is not None and _INSTALL in hint)):
        return f"{hint}; {_NETWORK}" if hint else _NETWORK
    return hint


def _missing(said: str) -> list[str]:
    """The programs of which the output says that they are not there, the last one first."""
    return _NOT_FOUND.findall(said)[::-1]


def _known(program: str) -> str | None:
    found = _HAS.get(program)
    return found.format(program=program, install=_INSTALL) if found else None
