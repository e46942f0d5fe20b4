"""What to do when a command failed for the want of something that an agent can get."""

from __future__ import annotations

import re

from pyro_mcp.hints import Argument, Hint, Verb
from pyro_mcp.results import CommandEnd

_SHOWN = 8192
# As dash, bash, env and our agent say it.
_NOT_FOUND = re.compile(r"([\w.+-]+)['\u2019`]?: (?:(?:command )?not found|No such file or directory)")
_NO_MODULE = re.compile(r"No module named '?(?:pip|venv|ensurepip|virtualenv)\b|ensurepip is not\s+available")
NETWORK_ERROR = re.compile(
    r"Temporary failure (?:in name resolution|resolving)|Could not resolve|Name or service not known|bad address"
    r"|EAI_AGAIN|ENOTFOUND|dns error|Network is unreachable|Failed to establish a new connection|NameResolutionError",
    re.IGNORECASE,
)
"""Error messages of programs without a network."""
_PYTHON = "the environments debian:12 and debian:12-build have pip, venv and uv"
_COMPILERS = "the environment debian:12-build has compilers and make"
_NODE = "Node.js is the Debian package nodejs, npm the package npm"
_APT = "{program} may be a Debian package"
_INSTALL = Hint("install it with apt-get; {} keeps what is installed for other workspaces", Verb("env save"))

# What is missing, and what has it.
_HAS: dict[str, str] = {
    **dict.fromkeys(("pip", "pip3", "uv", "uvx", "virtualenv"), _PYTHON),
    **dict.fromkeys(("cc", "gcc", "g++", "c++", "make", "pkg-config"), _COMPILERS),
    **dict.fromkeys(("node", "nodejs", "npm", "npx", "yarn", "pnpm"), _NODE),
    **dict.fromkeys(("cargo", "rustc", "go", "java", "ruby", "php", "psql", "sqlite3", "jq", "rg", "vim"), _APT),
}


def with_hint(end: CommandEnd, *, with_network: Verb | None, limit_seconds: float) -> CommandEnd:
    """Return the result with advice, if a table here knows any.

    `with_network` makes a machine that has a network; None if this one has it.
    """
    return {**end, "hint": _hint(end, with_network=with_network, limit_seconds=limit_seconds) or None}


def _hint(end: CommandEnd, *, with_network: Verb | None, limit_seconds: float) -> str | None:
    if end["timed_out"]:
        return Hint.joined(
            f"killed after {limit_seconds:g} s", Hint("{} gives it more time", Argument("timeout_seconds"))
        )
    if end["exit_code"] == 0:
        return None
    said = f"{end['stdout'][-_SHOWN:]}\n{end['stderr'][-_SHOWN:]}"
    hint = ""
    if _NO_MODULE.search(said):
        hint = _PYTHON
    elif end["exit_code"] == 127:
        hint = next((known for program in _missing(said) if (known := _known(program))), "")
    if with_network is not None and (NETWORK_ERROR.search(said) or _INSTALL in hint):
        return Hint.joined(hint, "this machine has no network", Hint("{} makes one that has", with_network))
    return hint


def _missing(said: str) -> list[str]:
    """Return the programs that the output reports as not found, the last one first."""
    return _NOT_FOUND.findall(said)[::-1]


def _known(program: str) -> str:
    found = _HAS.get(program, "")
    return Hint.joined(found.format(program=program), _INSTALL) if found in (_NODE, _APT) else found
