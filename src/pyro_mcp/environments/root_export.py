"""Write the root files of an environment as a tar file, for `docker import` and anything else that reads one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from pyro_mcp.environments.erofs_reader import ErofsReader
from pyro_mcp.environments.layer import LayerWriter
from pyro_mcp.errors import Conflict, InvalidRequest
from pyro_mcp.host.files import no_space
from pyro_mcp.host.progress import Progress
from pyro_mcp.host.staging import move_new, staging_folder

_PIECE_BYTES = 64 << 20


@dataclass(frozen=True)
class RootExport:
    """What was written: the digest of the tar file as "sha256:HEX", its files, and the paths that no tar can hold."""

    digest: str
    entry_count: int
    size_bytes: int
    left_out: list[str]


def export_root(image: Path, file: IO[bytes], progress: Progress) -> RootExport:
    """Write the files in an image to `file`, from start to end; raises `EnvironmentFailed`, `OSError`.

    It needs only the right to read the image, and room only for the tar file.
    """
    layer = LayerWriter(file)
    shown, total = 0, max(1, image.stat().st_size)
    with image.open("rb") as source:
        for entry, pieces in ErofsReader(source).entries():
            layer.begin(entry)
            if entry.kind == "f":
                for piece in pieces:
                    layer.data(piece)
                layer.end(entry.size)
            if layer.size_bytes >= shown + _PIECE_BYTES:
                shown = layer.size_bytes
                progress("writing the files", min(1.0, shown / total))
    return RootExport(layer.finish(), layer.entry_count, layer.size_bytes, layer.left_out)


@contextmanager
def new_file(target: Path, state: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing, which gets the name `target` only when the block ends without an error.

    `state` records what to remove after a kill. Raises `Conflict` when `target` exists, `InvalidRequest`, `NoSpace`.
    """
    if "\0" in str(target):
        raise InvalidRequest("the output path holds a NUL byte, which no path can")
    taken = Conflict(f"{target} exists already", hint="choose another path, or remove it")
    if os.path.lexists(target):
        raise taken
    with staging_folder(target, state) as folder:
        try:
            with open(folder / "new", "xb") as file:
                yield file
            move_new(folder / "new", target)
        except FileExistsError as error:
            raise taken from error
        except OSError as error:
            raise no_space(error, target) from error
