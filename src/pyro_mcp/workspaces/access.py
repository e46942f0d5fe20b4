"""What is done inside a workspace: commands, files, patches, the diff, exports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from pyro_mcp.engine import GUEST_TOOL, Command, Connection, OutputSink
from pyro_mcp.errors import Conflict, GuestFailed, NoSpace, NotFound
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
from pyro_mcp.trees import GuestTree, apply_patch, diff, export, list_files, push, read_file, write_file
from pyro_mcp.workspaces import redact
from pyro_mcp.workspaces.workspace_store import CommandRecord, EventKind, WorkspaceStore

_KEPT_IN_HISTORY = 64 * 1024
_TOOL_DEADLINE = 600.0
_CWD = "/workspace"


@dataclass(frozen=True)
class OpenWorkspace:
    """A running workspace, held against resets, and what its programs are given."""

    record: MachineRecord
    connection: Connection
    environ: Mapping[str, str]
    secrets: Secrets
    mask: Mask
    connect: Callable[[], AbstractContextManager[Connection]]
    """Makes a further connection to the same machine."""
    connect_lasting: Callable[[], AbstractContextManager[Connection]]
    """Makes one that may be held long."""

    def guest_path(self, path: str) -> str:
        """A path as a command's folder: given from / or from /workspace."""
        return os.path.join(_CWD, path)


class WorkspaceAccess:
    """The insides of the workspaces of one state folder. Any number of processes work in one at once."""

    def __init__(self, lifecycle: Lifecycle, images: Images, workspace_store: WorkspaceStore) -> None:
        self._lifecycle = lifecycle
        self._images = images
        self._workspace_store = workspace_store

    def exec(self, id_: str, command: str | Sequence[str], cwd: str, options: ExecOptions) -> WorkspaceExecResult:
        given = command if isinstance(command, str) else shell_words(command)
        place = os.path.join(_CWD, cwd)
        with self._running(id_, long_running=True) as (record, connection):
            secrets = self._secrets(id_)
            mask, shown = secrets.mask(), secrets.mask().everything(given)
            environ = self._environ(record, secrets) | secrets.environ(options.secret_env)
            wanted = options.of(given, environ, accelerator=record.accelerator, cwd=place)
            number = self._workspace_store.begin_command(id_, shown)
            with mask.errors():
                end = command_end(redact.run(connection, wanted, mask), record, options)
            self._workspace_store.end_command(number, _for_history(end))
        return {
            "workspace_id": id_,
            "sequence": self._workspace_store.position(id_, number),
            "command": shown,
            "cwd": mask.text(place),
            **end,
            "execution_mode": record.execution_mode or "",
            "accelerator": record.accelerator or "",
        }

    def logs(self, id_: str) -> WorkspaceLogs:
        self._workspace_store.get(id_)
        entries = [_log_entry(place, one) for place, one in enumerate(self._workspace_store.commands(id_), start=1)]
        return {"workspace_id": id_, "count": len(entries), "entries": entries}

    def list_files(self, id_: str, path: str, *, recursive: bool) -> WorkspaceFileList:
        with self._tree(id_) as tree:
            found = list_files(tree, path, recursive=recursive)
        self._workspace_store.touch(id_)
        shown: FileList = self._secrets(id_).mask().everything(found)
        return {"workspace_id": id_, **shown}

    def read_file(self, id_: str, path: str, *, offset: int, max_bytes: int, binary: bool) -> WorkspaceFileRead:
        mask = self._secrets(id_).mask()
        with self._tree(id_) as tree:
            found = read_file(tree, path, offset=offset, max_bytes=max_bytes, binary=binary, mask=mask or None)
        self._workspace_store.touch(id_)
        return {"workspace_id": id_, **found, "path": mask.text(found["path"])}

    def write_file(self, id_: str, path: str, content: bytes) -> WorkspaceFileWrite:
        with self._tree(id_) as tree:
            done = write_file(tree, path, content)
        self.note(id_, "edit", {"path": done["path"], "bytes_written": done["bytes_written"]})
        return {"workspace_id": id_, **done}

    def apply_patch(self, id_: str, patch: str | bytes) -> WorkspacePatch:
        with self._tree(id_) as tree:
            done = apply_patch(tree, patch)
        self.note(id_, "patch", {"summary": done["summary"], "entries": done["entries"][:100]})
        return {"workspace_id": id_, **done}

    def diff(
        self, id_: str, *, patch: bool = True, include_ignored: bool = False, binary: bool = False
    ) -> WorkspaceDiff:
        if self._lifecycle.store.get(id_).execution_mode == HOST_COMPAT:
            raise Conflict("without a guest there is no baseline to compare with", hint="'git diff' in it may do")
        with self._tree(id_) as tree:
            found = diff(tree, patch=patch, include_ignored=include_ignored, binary=binary)
        self._workspace_store.touch(id_)
        return {"workspace_id": id_, **redact.changes(found, self._secrets(id_).mask())}

    def export(
        self, id_: str, path: str, output: Path, *, overwrite: bool, max_bytes: int, max_entries: int
    ) -> WorkspaceExport:
        with self._tree(id_) as tree:
            done = export(
                tree,
                path,
                output,
                state=self._lifecycle.folders.state,
                overwrite=overwrite,
                max_bytes=max_bytes,
                max_entries=max_entries,
            )
        self.note(id_, "export", {"path": done["workspace_path"], "output_path": done["output_path"]})
        return {"workspace_id": id_, **done}

    def push(self, id_: str, source: Path, dest: str) -> WorkspaceSyncPush:
        with self._tree(id_) as tree:
            done = push(tree, source, dest)
        self.note(id_, "sync", {"source_path": str(source), "destination": dest})
        return {"workspace_id": id_, **done}

    @contextmanager
    def open(self, id_: str, *, long_running: bool = False) -> Iterator[OpenWorkspace]:
        """Whatever else is done inside, long or short; errors that leave the block tell no secret."""
        secrets = self._secrets(id_)
        mask = secrets.mask()
        with mask.errors(), self._running(id_, long_running=long_running) as (record, connection):
            connect = partial(self._lifecycle.connect, record)
            environ, connect_lasting = self._environ(record, secrets), partial(connect, long_running=True)
            yield OpenWorkspace(record, connection, environ, secrets, mask, connect, connect_lasting)

    def require(self, id_: str) -> None:
        """Raise `NotFound` unless there is such a workspace."""
        self._workspace_store.get(id_)

    def note(self, id_: str, kind: EventKind, detail: Mapping[str, Any]) -> None:
        """Keep an event for the summary, without secrets."""
        self._workspace_store.note(id_, kind, self._secrets(id_).mask().everything(detail))

    @contextmanager
    def _running(self, id_: str, *, long_running: bool = False) -> Iterator[tuple[MachineRecord, Connection]]:
        self._workspace_store.get(id_)
        with (
            self._lifecycle.lock_shared(id_) as record,
            self._lifecycle.connect(record, long_running=long_running) as connection,
        ):
            yield record, connection

    @contextmanager
    def _tree(self, id_: str) -> Iterator[GuestTree]:
        with self._secrets(id_).mask().errors(), self._running(id_) as (_, connection):
            yield GuestTree(ToolOf(connection))

    def _environ(self, record: MachineRecord, secrets: Secrets) -> dict[str, str]:
        """What every command starts with: the image's own variables, and those that say whom to trust."""
        return self._images.environ(record.environment) | network_environ(record.network, secrets.authority())

    def _secrets(self, id_: str) -> Secrets:
        return Secrets(self._lifecycle.folders.home(id_))


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
        said = outcome.stderr.decode(errors="replace").strip() or f"the file tool ended with {outcome.exit_code}"
        if "No space left on device" in said:
            raise NoSpace(f"the workspace's disk is full: {said}")
        if "No such file or directory" in said:
            raise NotFound(said)
        raise GuestFailed(said)


def _for_history(end: CommandEnd) -> CommandEnd:
    return {**end, "stdout": end["stdout"][:_KEPT_IN_HISTORY], "stderr": end["stderr"][:_KEPT_IN_HISTORY]}


def _log_entry(place: int, one: CommandRecord) -> WorkspaceLogEntry:
    ended = one.result or {}
    return {
        "sequence": place,
        "command": one.command,
        "started_at": one.started_at,
        "status": "ended" if one.result else "unknown",
        "exit_code": ended.get("exit_code"),
        "timed_out": ended.get("timed_out", False),
        "duration_ms": ended.get("duration_ms"),
        "stdout": ended.get("stdout", ""),
        "stderr": ended.get("stderr", ""),
    }
