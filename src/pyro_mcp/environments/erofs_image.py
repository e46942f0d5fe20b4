"""Write a root filesystem into the read-only EROFS image that guests boot from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pyro_mcp.environments.user_namespace import run_as_root
from pyro_mcp.errors import EnvironmentFailed, HostCommandFailed

_DEADLINE_SECONDS = 900
# The guest mounts file systems over these folders. Anything else at their paths is removed, and links are not followed.
# The folders get a fixed date, so that equal trees give equal images.
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


def write_image(tree: Path, image: Path) -> None:
    """Write `tree` to `image`: uncompressed EROFS, with equal bytes for equal trees. Both have the same parent."""
    try:
        run_as_root(["sh", "-euc", _MOUNT_POINTS, "sh", tree], writable=tree.parent, deadline_seconds=60)
        run_as_root(
            # Only this environment variable fixes the date of the image and keeps the dates of the files.
            ["env", f"SOURCE_DATE_EPOCH={2**31 - 1}",
             "mkfs.erofs", "--quiet", "--preserve-mtime", "-U", "00000000-0000-0000-0000-000000000000", image, tree],
            writable=image.parent,
            deadline_seconds=_DEADLINE_SECONDS,
        )  # fmt: skip
    except HostCommandFailed as error:
        raise EnvironmentFailed(f"cannot write the image: {error.message}", hint=error.hint) from error
    image.chmod(0o444)


def file_digest(path: Path) -> str:
    """Return the digest of a file's content as "sha256:HEX"."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
