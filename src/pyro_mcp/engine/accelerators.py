"""The names of the accelerators, as a caller requests them."""

from __future__ import annotations

import os

from pyro_mcp.errors import InvalidRequest

AUTO = "auto"
REQUESTABLE = (AUTO, "kvm", "uml", "tcg")
"""What a caller may request: the fastest accelerator that works, or one by its name."""
_VARIABLE = "PYRO_ACCELERATOR"


def requested(name: str | None) -> str:
    """Return the requested accelerator: `name`, else that of `PYRO_ACCELERATOR`, else "auto".

    Raises `InvalidRequest` when it is unknown.
    """
    default = os.environ.get(_VARIABLE) or AUTO
    wanted = name or default
    if wanted not in REQUESTABLE:
        known = ", ".join(REQUESTABLE)
        if name:
            raise InvalidRequest(f"there is no accelerator {name!r}", hint=f"choose one of {known}")
        raise InvalidRequest(f"{_VARIABLE} is {wanted!r}", hint=f"set it to one of {known}, or unset it")
    return wanted
