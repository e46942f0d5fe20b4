"""The errors that the guest tool reports by its exit code and its standard error."""

from __future__ import annotations

from pyro_mcp.errors import GuestFailed, NoSpace, NotFound, PyroError

_MOST_SHOWN = 2000


def tool_error(exit_code: int, stderr: bytes, *, disk: str = "the workspace's disk") -> PyroError:
    """Return the error for a failed run of the guest tool, as a `GuestToolRunner` must raise it.

    `disk` names the disk that is full when the tool reports that. The texts are those of guest/TREE.md.
    """
    said = stderr.decode(errors="replace").strip()[-_MOST_SHOWN:] or f"the file tool ended with {exit_code}"
    if "No space left on device" in said:
        return NoSpace(f"{disk} is full: {said}")
    if "No such file or directory" in said:
        return NotFound(said)
    return GuestFailed(said)
