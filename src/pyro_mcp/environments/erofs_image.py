"""From a tree of files to the read-only image that guests boot from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pyro_mcp.environments.user_namespace import run_as_root
from pyro_mcp.errors import EnvironmentFailed, HostCommandFailed

_DEADLINE_SECONDS = 900
# The guest mounts over these. What an image has in their place is dropped, never followed. What we make has a
# fixed date, or no two images would be the same.
_MOUNT_POINTS = """
for name in dev proc run sys tmp workspace; do
    [ -d "$1/$name" ] && [ ! -L "$1/$name" ] && continue
    rm -f -- "$1/$name"
    mkdir -m 755 -- "$1/$name"
    touch -d @0 "$1/$name"
done
chmod 1777 "$1/tmp"
chmod 755 "$1"
touch -d @0 "$1"
"""


def pack(tree: Path, image: Path) -> None:
    """Write `tree` into `image`: EROFS, uncompressed, the same bytes for the same tree. Both are in one folder."""
    try:
        run_as_root(["sh", "-euc", _MOUNT_POINTS, "sh", tree], writable=tree.parent, deadline_seconds=60)
        run_as_root(
            # The environment variable is the one way to fix the image's own date and still keep every file's.
            ["env", f"SOURCE_DATE_EPOCH={2**31 - 1}",
             "mkfs.erofs", "--quiet", "--preserve-mtime", "-U", "00000000-0000-0000-0000-000000000000", image, tree],
            writable=image.parent,
            deadline_seconds=_DEADLINE_SECONDS,
        )  # fmt: skip
    except HostCommandFailed as error:
        raise EnvironmentFailed(f"the image could not be written: {error.message}", hint=error.hint) from error
    image.chmod(0o444)


def file_digest(path: Path) -> str:
    """The digest of a file's content, as "sha256:HEX"."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
