"""Open a running workspace, and do work in it: commands, files, patches, the diff, exports."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from pyro_mcp.engine import GUEST_TOOL, Command, Connection, OutputSink
from pyro_mcp.errors import Conflict
from pyro_mcp.machines import (
    HOST_COMPAT,
    ExecOptions,
    Images,
    Lifecycle,
    MachineRecord,
    Secrets,
    command_end,
    network_environ,
    shell_words,
)
from pyro_mcp.redaction import Mask
from pyro_mcp.results import (
    CommandEnd,
    FileList,
    WorkspaceDiff,
    WorkspaceExecResult,
    WorkspaceExport,
    WorkspaceFileList,
    WorkspaceFileRead,
    WorkspaceFileWrite,
    WorkspaceLogEntry,
    WorkspaceLogs,
    WorkspacePatch,
    WorkspaceSyncPush,
)
from pyro_mcp.trees import GuestTree, apply_patch, diff, export, list_files, push, read_file, tool_error, write_file
from pyro_mcp.workspaces import redact
from pyro_mcp.workspaces.workspace_store import CommandRecord, EventKind, WorkspaceStore

_KEPT_IN_HISTORY = 64 * 1024
_TOOL_DEADLINE = 600.0
_CWD = "/workspace"


@dataclass(frozen=True)
class OpenWorkspace:
    """A running workspace, locked against resets, with a connection to it and the secrets of its commands."""

    record: MachineRecord
    connection: Connection
    secrets: Secrets
    mask: Mask
    lifecycle: Lifecycle
    images: Images

    @cached_property
    def environ(self) -> Mapping[str, str]:
        """The variables of every command: those of the image, and those that name CA certificates and mirrors."""
        network = network_environ(self.record.network, self.secrets.authority(self.record.network))
        return self.images.environ(self.record.environment) | network

    @property
    def tree(self) -> GuestTree:
        """The files below /workspace."""
        return GuestTree(ToolOf(self.connection))

    def guest_path(self, path: str) -> str:
        """Return the absolute guest path of a command's folder, which is given from / or from /workspace."""
        return os.path.join(_CWD, path)

    def connect(self, *, long_running: bool = False) -> AbstractContextManager[Connection]:
        """Make a further connection to the same machine; a `long_running` one may be held long."""
        return self.lifecycle.connect(self.record, long_running=long_running)


class WorkspaceAccess:
    """Commands and file work in the workspaces of one state folder. Any number of processes work in one at once."""

    def __init__(self, lifecycle: Lifecycle, images: Images, workspace_store: WorkspaceStore) -> None:
        self._lifecycle = lifecycle
        self._images = images
        self._workspace_store = workspace_store

    def exec(self, id_: str, command: str | Sequence[str], cwd: str, options: ExecOptions) -> WorkspaceExecResult:
        argv = shell_words(command)
        with ExitStack() as stack:
            with self._lifecycle.store.kept_open():  # and closed before the command runs, which may take long
                workspace = stack.enter_context(self.open(id_, long_running=True))
                record, mask, folder = workspace.record, workspace.mask, workspace.guest_path(cwd)
                environ = {**workspace.environ, **workspace.secrets.environ(options.secret_env)}
                wanted = options.command(argv, environ, accelerator=record.accelerator, cwd=folder)
                shown = mask.everything(command if isinstance(command, str) else argv)
                number = self._workspace_store.begin_command(id_, shown)
            end = command_end(redact.run(workspace.connection, wanted, mask), record, options)
            sequence = self._workspace_store.end_command(id_, number, _for_history(end))
        return {
            "workspace_id": id_,
            "sequence": sequence,
            "command": shown,
            "cwd": mask.text(folder),
            **end,
            "execution_mode": record.execution_mode or "",
            "accelerator": record.accelerator or "",
        }

    def logs(self, id_: str) -> WorkspaceLogs:
        with self._lifecycle.store.kept_open():
            self._workspace_store.get(id_)
            commands = self._workspace_store.commands(id_)
        entries = [_log_entry(sequence, one) for sequence, one in enumerate(commands, start=1)]
        return {"workspace_id": id_, "count": len(entries), "entries": entries}

    def list_files(self, id_: str, path: str, *, recursive: bool) -> WorkspaceFileList:
        with self.open(id_) as workspace:
            found = list_files(workspace.tree, path, recursive=recursive)
        self._workspace_store.touch(id_)
        shown: FileList = workspace.mask.everything(found)
        return {"workspace_id": id_, **shown}

    def read_file(self, id_: str, path: str, *, offset: int, max_bytes: int, binary: bool) -> WorkspaceFileRead:
        with self.open(id_) as workspace:
            mask = workspace.mask
            found = read_file(
                workspace.tree, path, offset=offset, max_bytes=max_bytes, binary=binary, mask=mask or None
            )
        self._workspace_store.touch(id_)
        return {"workspace_id": id_, **found, "path": mask.text(found["path"])}

    def write_file(self, id_: str, path: str, content: bytes) -> WorkspaceFileWrite:
        with self.open(id_) as workspace:
            done = write_file(workspace.tree, path, content)
        self.note(workspace, "edit", {"path": done["path"], "bytes_written": done["bytes_written"]})
        return {"workspace_id": id_, **done}

    def apply_patch(self, id_: str, patch: str | bytes) -> WorkspacePatch:
        with self.open(id_) as workspace:
            done = apply_patch(workspace.tree, patch)
        self.note(workspace, "patch", {"summary": done["summary"], "entries": done["entries"][:100]})
        return {"workspace_id": id_, **done}

    def diff(
        self, id_: str, *, patch: bool = True, include_ignored: bool = False, binary: bool = False
    ) -> WorkspaceDiff:
        with self.open(id_) as workspace:
            if workspace.record.execution_mode == HOST_COMPAT:
                raise Conflict("without a guest there is no baseline to compare with", hint="'git diff' in it may do")
            found = diff(workspace.tree, patch=patch, include_ignored=include_ignored, binary=binary)
        self._workspace_store.touch(id_)
        return {"workspace_id": id_, **redact.changes(found, workspace.mask)}

    def export(
        self, id_: str, path: str, output: Path, *, overwrite: bool, max_bytes: int, max_entries: int
    ) -> WorkspaceExport:
        with self.open(id_) as workspace:
            done = export(
                workspace.tree,
                path,
                output,
                state=self._lifecycle.folders.state,
                overwrite=overwrite,
                max_bytes=max_bytes,
                max_entries=max_entries,
            )
        self.note(workspace, "export", {"path": done["workspace_path"], "output_path": done["output_path"]})
        return {"workspace_id": id_, **done}

    def push(self, id_: str, source: Path, dest: str) -> WorkspaceSyncPush:
        with self.open(id_) as workspace:
            done = push(workspace.tree, source, dest)
        self.note(workspace, "sync", {"source_path": str(source), "destination": dest})
        return {"workspace_id": id_, **done}

    @contextmanager
    def open(self, id_: str, *, long_running: bool = False) -> Iterator[OpenWorkspace]:
        """Lock a running workspace and connect to it; errors that leave the block show no secret.

        Everything that is done in a workspace goes through here, once. The connection is for short work unless it is
        `long_running`. Raises `NotFound`, `Conflict` when the workspace does not run, `Busy` while it is being changed.
        """
        secrets = Secrets(self._lifecycle.folders.home(id_))
        mask = secrets.mask()
        with mask.errors(), ExitStack() as stack:
            with self._lifecycle.store.kept_open():
                self._workspace_store.get(id_)
                record = stack.enter_context(self._lifecycle.lock_shared(id_))
            connection = stack.enter_context(self._lifecycle.connect(record, long_running=long_running))
            yield OpenWorkspace(record, connection, secrets, mask, self._lifecycle, self._images)

    def require(self, id_: str) -> None:
        """Raise `NotFound` unless there is such a workspace."""
        self._workspace_store.get(id_)

    def note(self, workspace: OpenWorkspace, kind: EventKind, detail: Mapping[str, Any]) -> None:
        """Keep an event for the summary, without secrets."""
        self._workspace_store.note(workspace.record.id, kind, workspace.mask.everything(detail))


class ToolOf:
    """Runs the guest's file tool over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(
        self, arguments: Sequence[str | bytes], *, stdin: bytes | IO[bytes] | None = None, on_stdout: OutputSink
    ) -> None:
        """Run the tool to its end; raises what it complained of."""
        command = Command(
            [GUEST_TOOL, *arguments],
            cwd="/",
            is_guest_program=True,
            timeout_seconds=_TOOL_DEADLINE,
            stdin=stdin,
            output_cap=_KEPT_IN_HISTORY,
            on_stdout=on_stdout,
        )
        outcome = self._connection.run(command)
        if outcome.exit_code == 0:
            return
        raise tool_error(outcome.exit_code, outcome.stderr)


def _for_history(end: CommandEnd) -> CommandEnd:
    return {**end, "stdout": end["stdout"][:_KEPT_IN_HISTORY], "stderr": end["stderr"][:_KEPT_IN_HISTORY]}


def _log_entry(sequence: int, one: CommandRecord) -> WorkspaceLogEntry:
    ended = one.result or {}
    return {
        "sequence": sequence,
        "command": one.command,
        "started_at": one.started_at,
        "status": "ended" if one.result else "unknown",
        "exit_code": ended.get("exit_code"),
        "timed_out": ended.get("timed_out", False),
        "duration_ms": ended.get("duration_ms"),
        "stdout": ended.get("stdout", ""),
        "stderr": ended.get("stderr", ""),
    }
