"""Read the disk of a stopped workspace without starting any program that is on it.

A second machine starts on the same layers, with a temporary layer of its own on top. Only our agent and our guest tool
run in it, no program of the workspace, and the host never parses its file systems.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_mcp.engine import Connection, make_ext4
from pyro_mcp.errors import Conflict, InvalidRequest
from pyro_mcp.host.files import abandoned_scratch, private_directory
from pyro_mcp.host.process import run
from pyro_mcp.host.progress import Progress
from pyro_mcp.host.staging import move_new, staging_folder
from pyro_mcp.machines import (
    HOST_COMPAT,
    Images,
    Lifecycle,
    Phase,
    Secrets,
    new_layer_name,
    register_inspector,
    require_phase,
    start_inspector,
)
from pyro_mcp.redaction import Mask
from pyro_mcp.results import FileList, WorkspaceDiskExport, WorkspaceFileList, WorkspaceFileRead
from pyro_mcp.trees import list_files, read_file
from pyro_mcp.workspaces.access import ToolOf
from pyro_mcp.workspaces.system_files import ROOT, system_tree
from pyro_mcp.workspaces.workspace_store import WorkspaceStore

_COPY_DEADLINE = 1800.0
_EXPORTS = "exports"


class StoppedDisks:
    """The disks of the workspaces of one state folder, while they are stopped."""

    def __init__(self, lifecycle: Lifecycle, images: Images, workspace_store: WorkspaceStore) -> None:
        self._lifecycle = lifecycle
        self._images = images
        self._workspace_store = workspace_store

    def list(self, id_: str, path: str, *, recursive: bool) -> WorkspaceFileList:
        with self._inspector(id_) as connection:
            found = list_files(system_tree(connection), path, recursive=recursive)
        shown: FileList = self._mask(id_).everything(found)
        return {"workspace_id": id_, **shown}

    def read(self, id_: str, path: str, *, offset: int, max_bytes: int, binary: bool) -> WorkspaceFileRead:
        mask = self._mask(id_)
        with self._inspector(id_) as connection:
            tree = system_tree(connection)
            found = read_file(tree, path, offset=offset, max_bytes=max_bytes, binary=binary, mask=mask or None)
        return {"workspace_id": id_, **found, "path": mask.text(found["path"])}

    def export(self, id_: str, output: Path, progress: Progress) -> WorkspaceDiskExport:
        if "\0" in str(output):
            raise InvalidRequest("output_path holds a NUL byte, which no path can")
        if os.path.lexists(output):
            raise Conflict(f"{output} exists already", hint="choose another place")
        remove_abandoned_exports(self._lifecycle.folders.state)
        scratch = (
            private_directory(self._lifecycle.folders.state / _EXPORTS) / f".scratch-{os.getpid()}-{new_layer_name()}"
        )
        try:
            make_ext4(scratch)
            progress("copying the disk", None)
            with self._inspector(id_, scratch) as connection:
                ToolOf(connection)(["copy", "--also", "workspace", ROOT, "/dev/vdd"], on_stdout=lambda _: None)
            os.chown(scratch, os.getuid(), os.getgid())
            _move(scratch, Path(os.path.abspath(output)), self._lifecycle.folders.state)
        finally:
            scratch.unlink(missing_ok=True)
        found = output.stat()
        self._workspace_store.note(id_, "disk", {"output_path": str(output)})
        return {
            "workspace_id": id_,
            "output_path": str(output.absolute()),
            "disk_format": "raw ext4",
            "size_bytes": found.st_size,
            "allocated_bytes": found.st_blocks * 512,
        }

    def _mask(self, id_: str) -> Mask:
        return Secrets(self._lifecycle.folders.home(id_)).mask()

    @contextmanager
    def _inspector(self, id_: str, output: Path | None = None) -> Iterator[Connection]:
        self._workspace_store.get(id_)
        with self._lifecycle.lock_exclusive(id_) as record:
            if record.execution_mode == HOST_COMPAT:
                raise Conflict("without a guest there is no disk to look at")
            hint = "stop it first: its disk is still being written"
            require_phase(id_, record.phase, {Phase.STOPPED, Phase.FAILED}, hint=hint)
            if record.root_digest is None:
                raise Conflict(f"{id_} was never started: it has no disk yet")
            with (
                register_inspector(self._lifecycle, record, record.layers) as inspector,
                start_inspector(self._lifecycle, self._images, inspector, output) as connection,
            ):
                yield connection


def remove_abandoned_exports(state: Path) -> None:
    """Remove the disks that killed processes were copying."""
    for left in abandoned_scratch(state / _EXPORTS):
        left.unlink(missing_ok=True)


def _move(source: Path, target: Path, state: Path) -> None:
    """Move a sparse file; it stays sparse and appears complete, also in another file system."""
    try:
        move_new(source, target)
    except FileExistsError as error:
        raise Conflict(f"{target} exists already", hint="choose another place") from error
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise InvalidRequest(f"the disk cannot be put at {target}: {error.strerror}") from error
        with staging_folder(target, state) as folder:
            run(["cp", "--sparse=always", "--", source, folder / "new"], deadline_seconds=_COPY_DEADLINE)
            _move(folder / "new", target, state)
