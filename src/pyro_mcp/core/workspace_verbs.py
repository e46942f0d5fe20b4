"""The verbs about workspaces."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO

from pyro_mcp.core.components import Components
from pyro_mcp.engine import OUTPUT_CAP, OutputSink, Shape
from pyro_mcp.machines import OFF, ExecOptions, NetworkPolicy, SecretEnv, SecretsGiven
from pyro_mcp.network import AllowGiven
from pyro_mcp.results import (
    SnapshotDeleted,
    SnapshotList,
    SnapshotResult,
    WorkspaceAdopted,
    WorkspaceDeleted,
    WorkspaceDiff,
    WorkspaceDiskExport,
    WorkspaceExecResult,
    WorkspaceExport,
    WorkspaceFileList,
    WorkspaceFileRead,
    WorkspaceFileWrite,
    WorkspaceFork,
    WorkspaceInfo,
    WorkspaceList,
    WorkspaceLogs,
    WorkspacePatch,
    WorkspaceReset,
    WorkspaceSummarized,
    WorkspaceSyncPush,
)
from pyro_mcp.trees import MAX_EXPORT_BYTES, MAX_EXPORT_ENTRIES
from pyro_mcp.workspaces import BASELINE, SeedOrigin, StoppedDisks, Workspaces, summarize

DAY = 24 * 3600.0


class WorkspaceVerbs(Components):
    """Persistent workspaces: a /workspace tree in a machine of its own, by an opaque `workspace_id`.

    Guest paths are given from / or from /workspace, and never lead out of /workspace.
    """

    def create_workspace(
        self,
        environment: str,
        *,
        seed_path: str | Path | None = None,
        seed_origin: SeedOrigin | None = None,
        no_ignored: bool = False,
        seed_owner: int = 0,
        seed_left_out: Sequence[str] = (),
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        ttl_seconds: float = DAY,
        network_policy: str = OFF,
        allow_hosts: Sequence[AllowGiven] | None = None,
        trust_host_ca: bool = False,
        host_mirrors: bool = False,
        secrets: SecretsGiven | None = None,
        allow_host_compat: bool = False,
        accelerator: str | None = None,
        supervisor: Path | None = None,
    ) -> WorkspaceInfo:
        """Make and start a workspace whose /workspace begins as `seed_path`: a folder, .tar, .tar.gz or .tgz.

        * `seed_origin` (kind, reference) says where the seed came from, when that is more than its path.
        * `no_ignored` leaves out ignored files that git does not track. Without it, the result's `workspace_seed` says
          how many were copied, and which of them may hold secrets.
        * `seed_owner` is the number of the guest's user who owns all of /workspace; root is 0.
        * `seed_left_out` are paths in the folder `seed_path` that are not copied.
        * `name` need not be unique; the id counts.
        * `ttl_seconds` from now the workspace is stopped in any case; `reap_expired` then deletes it.
        * `network_policy` is "off", "egress" (every public address, or only `allow_hosts`) or "egress+published-ports"
          (services may also show ports on the host's 127.0.0.1).
        * `allow_hosts` lists `NAME[:PORT]`, `*.SUFFIX[:PORT]`, or mappings with a `"host"` and any of `"methods"`,
          `"paths"` (only such requests) and `"upstream"` (the name leads to that port of this host): see `AllowEntry`.
        * `trust_host_ca` makes its programs trust the certificate authorities that this host trusts.
        * `host_mirrors` makes pip, uv and npm use the mirrors that this host's use, without names and passwords.
        * `secrets`, `[{"name": "TOKEN", "value": "…"} | {"name": "TOKEN", "file_path": "…"}]`, are kept on the host
          for commands that name them in `secret_env`; they are masked in what commands print. One with a `"host"`, or
          several `"hosts"`, never enters the guest. The guest gets a placeholder, which becomes the value only in HTTPS
          requests to these hosts: in the field Authorization or the one that `"header"` names, as the password of the
          user `"basic"` in Basic authentication, or in the parameter `"query"`.
        * `allow_host_compat`: where no guest can run, commands and file work happen in a sandbox on the host's own
          kernel, and `execution_mode` says so.
        * `accelerator` is that of `create_vm`; later starts, resets and forks request the same.
        * `supervisor` is for programs that supervise the workspace's network: the socket where one listens, see
          `pyro_mcp.network.Supervisor`. Every start of the network, also a later one, connects to it; without it, no
          machine starts.
        """
        self._repair()
        return self._workspaces.create(
            environment,
            Shape(vcpu_count, mem_mib),
            seed_path=seed_path,
            seed_origin=seed_origin,
            no_ignored=no_ignored,
            seed_owner=seed_owner,
            seed_left_out=seed_left_out,
            name=name,
            labels=labels or {},
            ttl_seconds=ttl_seconds,
            network=NetworkPolicy(network_policy, tuple(allow_hosts or ()), trust_host_ca, host_mirrors, supervisor),
            secrets=secrets or (),
            allow_host_compat=allow_host_compat,
            accelerator=accelerator,
            progress=self._progress,
        )

    def list_workspaces(self) -> WorkspaceList:
        """List every workspace, the most recently active first; starts nothing."""
        return self._workspaces.list()

    def status_workspace(self, workspace_id: str) -> WorkspaceInfo:
        """Return the current state of a workspace."""
        return self._workspaces.status(workspace_id)

    def update_workspace(
        self,
        workspace_id: str,
        *,
        name: str | None = None,
        clear_name: bool = False,
        labels: Mapping[str, str] | None = None,
        clear_labels: Collection[str] | None = None,
        ttl_seconds: float | None = None,
    ) -> WorkspaceInfo:
        """Change the name, labels and lifetime; `labels` are added, those named in `clear_labels` removed first.

        With `ttl_seconds` the workspace lives that long from now on; a shortened lifetime takes effect within
        5 s.
        """
        return self._workspaces.update(
            workspace_id,
            name=name,
            clear_name=clear_name,
            labels=labels or {},
            clear_labels=clear_labels or (),
            ttl_seconds=ttl_seconds,
        )

    def adopt_workspace(self, workspace_id: str | None = None) -> WorkspaceAdopted:
        """Take back a workspace that is on the disk and not in the database, or all of them.

        Its folder says what it is: snapshots, name, seed, shape, network and time are as they were; only the
        histories of commands and edits are lost with the database. One that runs goes on running.
        """
        return self._workspaces.adopt(workspace_id)

    def delete_workspace(self, workspace_id: str) -> WorkspaceDeleted:
        """End a workspace and remove all it owned; commands that run in it end. Works on a full disk too."""
        return self._workspaces.delete(workspace_id)

    def stop_workspace(self, workspace_id: str, *, force: bool = False) -> WorkspaceInfo:
        """Flush and power off; files, installed packages, snapshots and history stay. Commands that run in it end.

        Raises, and the workspace runs on, when its disk cannot be flushed or its guest says nothing for 2 s. With
        `force` it ends all the same: what verbs have acknowledged stays, the last seconds of commands may be lost.
        """
        return self._workspaces.stop(workspace_id, self._progress, force=force)

    def start_workspace(self, workspace_id: str) -> WorkspaceInfo:
        """Start a stopped or failed workspace as its disk holds it."""
        return self._workspaces.start(workspace_id, self._progress)

    def reset_workspace(self, workspace_id: str, *, snapshot: str = BASELINE) -> WorkspaceReset:
        """Start the whole sandbox anew: /workspace as the snapshot has it, / as the environment has it.

        A snapshot that was made `with_system` brings its own / back.

        Commands that run in it end; the command history is cleared. Takes a fraction of a second whatever the size of
        the tree.
        """
        return self._workspaces.reset(workspace_id, snapshot, self._progress)

    def fork_workspace(
        self,
        workspace_id: str,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        ttl_seconds: float = DAY,
    ) -> WorkspaceFork:
        """Create a second workspace with the current /workspace and installed packages, independent from then on.

        Processes and memory are not copied. Its baseline is that of the first.
        """
        return self._workspaces.fork(
            workspace_id, name=name, labels=labels or {}, ttl_seconds=ttl_seconds, progress=self._progress
        )

    def create_snapshot(self, workspace_id: str, snapshot_name: str, *, with_system: bool = False) -> SnapshotResult:
        """Keep the current /workspace under a name, to reset to; `with_system` also what is installed in all of /."""
        return self._workspaces.create_snapshot(workspace_id, snapshot_name, with_system=with_system)

    def list_snapshots(self, workspace_id: str) -> SnapshotList:
        """List the baseline and the named snapshots."""
        return self._workspaces.list_snapshots(workspace_id)

    def delete_snapshot(self, workspace_id: str, snapshot_name: str) -> SnapshotDeleted:
        """Forget a named snapshot."""
        return self._workspaces.delete_snapshot(workspace_id, snapshot_name)

    def exec_workspace(
        self,
        workspace_id: str,
        *,
        command: str | Sequence[str],
        cwd: str = "/workspace",
        timeout_seconds: float | None = None,
        stdin: bytes | IO[bytes] | None = None,
        output_cap: int = OUTPUT_CAP,
        on_stdout: OutputSink | None = None,
        on_stderr: OutputSink | None = None,
        secret_env: SecretEnv | None = None,
        interrupt: int | None = None,
    ) -> WorkspaceExecResult:
        """Run one command; the arguments are those of `exec_vm`. The workspace stays, and what the command did.

        `secret_env` names the workspace's secrets that it gets as environment variables: name → variable, or names.
        """
        options = ExecOptions(timeout_seconds, stdin, output_cap, on_stdout, on_stderr, secret_env, interrupt)
        return self._workspace_access.exec(workspace_id, command, cwd, options)

    def logs_workspace(self, workspace_id: str) -> WorkspaceLogs:
        """Return the command history since creation or the last reset; kept until the workspace is deleted."""
        return self._workspace_access.logs(workspace_id)

    def list_workspace_files(
        self, workspace_id: str, path: str = "/workspace", recursive: bool = False
    ) -> WorkspaceFileList:
        """List what is at a path: type, size, link target."""
        return self._workspace_access.list_files(workspace_id, path, recursive=recursive)

    def read_workspace_file(
        self, workspace_id: str, path: str, *, offset: int = 0, max_bytes: int = 65536, binary: bool = False
    ) -> WorkspaceFileRead:
        """Read at most `max_bytes` of a regular file from byte `offset` on.

        It must be text in UTF-8; with `binary` it may be anything and comes as base64. The result's `next_offset` is
        where to read on.
        """
        return self._workspace_access.read_file(workspace_id, path, offset=offset, max_bytes=max_bytes, binary=binary)

    def write_workspace_file(self, workspace_id: str, path: str, *, text: str) -> WorkspaceFileWrite:
        """Create or replace a regular file; it appears whole. Missing folders are made, an existing mode is kept."""
        return self._workspace_access.write_file(workspace_id, path, text.encode())

    def apply_workspace_patch(self, workspace_id: str, *, patch: str | bytes) -> WorkspacePatch:
        """Apply a unified diff, all of it or nothing."""
        return self._workspace_access.apply_patch(workspace_id, patch)

    def diff_workspace(
        self, workspace_id: str, *, include_ignored: bool = False, binary: bool = False
    ) -> WorkspaceDiff:
        """Return what differs from the baseline; `git apply` applies `patch` to the seed.

        Ignored files are only counted unless `include_ignored`; files that are not text are a line of the
        patch unless `binary`. With both the patch makes the seed into the whole tree.
        """
        return self._workspace_access.diff(workspace_id, include_ignored=include_ignored, binary=binary)

    def export_workspace(
        self,
        workspace_id: str,
        path: str,
        *,
        output_path: str | Path,
        overwrite: bool = False,
        max_bytes: int = MAX_EXPORT_BYTES,
        max_entries: int = MAX_EXPORT_ENTRIES,
    ) -> WorkspaceExport:
        """Copy a file or folder to the host.

        From `.git`, only commits, refs, the HEAD log and safe settings are copied. `skipped` lists what was left out
        and why, `self_running` the changed files that tools run automatically.
        """
        return self._workspace_access.export(
            workspace_id,
            path,
            Path(output_path),
            overwrite=overwrite,
            max_bytes=max_bytes,
            max_entries=max_entries,
        )

    def push_workspace_sync(
        self, workspace_id: str, source_path: str | Path, *, dest: str = "/workspace"
    ) -> WorkspaceSyncPush:
        """Copy a host file, or a folder's or archive's content, into the live workspace.

        The result names what it replaced. A file goes into `dest` where that is a folder or ends in a slash, else it
        becomes `dest`.
        """
        return self._workspace_access.push(workspace_id, Path(source_path), dest)

    def list_workspace_disk(
        self, workspace_id: str, path: str = "/workspace", recursive: bool = False
    ) -> WorkspaceFileList:
        """List what is at a path of a stopped workspace's disk; starts nothing on it."""
        return self._stopped_disks.list(workspace_id, path, recursive=recursive)

    def read_workspace_disk(
        self, workspace_id: str, path: str, *, offset: int = 0, max_bytes: int = 65536, binary: bool = False
    ) -> WorkspaceFileRead:
        """Read a part of a file on a stopped workspace's disk, as `read_workspace_file` does."""
        return self._stopped_disks.read(workspace_id, path, offset=offset, max_bytes=max_bytes, binary=binary)

    def export_workspace_disk(self, workspace_id: str, *, output_path: str | Path) -> WorkspaceDiskExport:
        """Write a stopped workspace's whole root, /workspace included, to a sparse raw ext4 image on the host."""
        return self._stopped_disks.export(workspace_id, Path(output_path), self._progress)

    def summarize_workspace(self, workspace_id: str) -> WorkspaceSummarized:
        """Return a summary of the work since the last reset."""
        return summarize(self._workspaces, self._workspace_access, self._workspace_store, workspace_id)

    @cached_property
    def _workspaces(self) -> Workspaces:
        return Workspaces(self._lifecycle, self._images, self._workspace_store, self._recovery)

    @cached_property
    def _stopped_disks(self) -> StoppedDisks:
        return StoppedDisks(self._lifecycle, self._images, self._workspace_store)
