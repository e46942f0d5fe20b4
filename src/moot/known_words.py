"""The words that `moot.toml` and `team.toml` know, and the characters that names in them may have."""

from __future__ import annotations

import re

from moot.toml_tables import matching

HARNESSES = ("claude-code", "codex", "opencode", "cursor", "aider")
RUNTIMES = ("local", "devcontainer", "bottle")
BOTTLE_BACKENDS = ("pyro", "docker", "smolmachines")
"""Where the runtime `bottle` runs its bottles; the first is the default."""
EFFORTS = ("low", "medium", "high", "xhigh", "max")
REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
PERMISSION_MODES = ("acceptEdits", "auto", "bypassPermissions", "default", "dontAsk", "plan")
DEFAULT_HARNESS, DEFAULT_RUNTIME, DEFAULT_PERMISSION_MODE = "claude-code", "local", "bypassPermissions"
"""What a `moot.toml` without these words means."""
SKIP_PERMISSIONS = "dangerously-skip"
"""A value of `permissions`, which means the permission mode `bypassPermissions`; `moot init` writes it."""
DEFAULT_PROFILE = "devcontainer"
"""The profile of an agent whose table sets none; the server keeps it as `agent_profile`."""

_ROLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
"""A role names a tmux session, a branch, a folder and a key of TOML."""
_MODEL = re.compile(r"[A-Za-z0-9_.:+/\[\]-]{1,200}", re.ASCII)
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}|[A-Za-z][A-Za-z0-9]{0,39}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)

role_name = matching(_ROLE_NAME, "is not a role: use 1 to 64 letters, digits, '_' and '-', the first a letter or digit")
model_name = matching(_MODEL, "is not the name of a model: use letters, digits and _ . : + / [ ] - without spaces")
colour_name = matching(_COLOUR, "is not a colour of tmux, such as cyan, colour208 or #ff8700")


def variable_name(value: object) -> str:
    """Return the name of a variable that a role may set."""
    text: str = matching(_VARIABLE, "is not the name of a variable")(value)
    if text.startswith("CONVO_"):
        raise ValueError("moot itself sets the variables that begin with CONVO_")
    return text
