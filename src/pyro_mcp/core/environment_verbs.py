"""The verbs about environments of the user's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pyro_mcp.core.components import Components
from pyro_mcp.engine import Shape, requested
from pyro_mcp.environments import export_root, new_file
from pyro_mcp.machines import EGRESS, OFF, NetworkPolicy, check_mirrors
from pyro_mcp.results import EnvironmentDeleted, EnvironmentDetails, EnvironmentExported
from pyro_mcp.workspaces import EnvironmentSaver

if TYPE_CHECKING:
    from pyro_mcp.builds import EnvironmentBuilder

_MOST_NAMED = 100


class EnvironmentVerbs(Components):
    """Environments that grow from work: `create_workspace` and `run_in_vm` take their names like any other."""

    def save_environment(self, name: str, *, workspace_id: str, replace: bool = False) -> EnvironmentDetails:
        """Make an environment of a workspace's system: all of / with its installed packages, without /workspace.

        The workspace may run or be stopped, and goes on unchanged. A file that holds the value of one of its secrets
        is an error. The environment stays until `delete_environment`; with `replace` it replaces an older one.
        """
        return self._saving.save(name, workspace_id, replace=replace, progress=self._progress)

    def build_environment(
        self,
        name: str,
        *,
        path: str | Path,
        context: str | Path | None = None,
        build_args: Mapping[str, str] | None = None,
        target: str | None = None,
        network: bool = False,
        allow_hosts: Sequence[str] | None = None,
        trust_host_ca: bool = False,
        host_mirrors: bool = False,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        timeout_seconds: float = 3600,
        replace: bool = False,
        accelerator: str | None = None,
    ) -> EnvironmentDetails:
        """Build an environment from a Dockerfile, the Dockerfile in a folder, or a devcontainer.json.

        `context` is the folder that COPY takes files from, by default the file's own. Steps run in machines without
        network unless `network` is given (every public address, or only `allow_hosts`; `trust_host_ca` and
        `host_mirrors` are those of `create_workspace`, and so is `accelerator`), each for at most
        `timeout_seconds`. A step that fails leaves nothing and raises `EnvironmentFailed` with the line and the end of
        its output. What had no effect is in the result's `origin["ignored"]`.
        """
        from pyro_mcp.builds import BuildOptions, read_build_definition  # noqa: PLC0415 - few commands build

        self._repair()
        definition = read_build_definition(Path(path), Path(context) if context is not None else None)
        policy = NetworkPolicy(EGRESS if network else OFF, tuple(allow_hosts or ()), trust_host_ca, host_mirrors)
        check_mirrors(policy)
        options = BuildOptions(
            Shape(vcpu_count, mem_mib),
            policy,
            timeout_seconds,
            {**definition.build_args, **(build_args or {})},
            target if target is not None else definition.target,
            requested(accelerator),
        )
        return self._builder.build(name, definition, options, replace=replace, progress=self._progress)

    def export_environment(self, name: str, *, output: str | Path | IO[bytes]) -> EnvironmentExported:
        """Write the root files of an environment as a tar file, with owners, modes and capabilities.

        `docker import` takes it. `output` is the path of a new file, or a binary file that is open for writing. An
        environment that is not installed is pulled first.
        """
        image = self._environments.pull(name, self._progress)
        target: Path | None
        if isinstance(output, str | Path):
            target = Path(os.path.abspath(output))
            with new_file(target, self._state) as file:
                done = export_root(image.path, file, self._progress)
        else:
            target, done = None, export_root(image.path, output, self._progress)
        return {
            "name": name,
            "version": image.version,
            "output_path": str(target) if target else None,
            "digest": done.digest,
            "entry_count": done.entry_count,
            "size_bytes": done.size_bytes,
            "environ": image.environ,
            "left_out": done.left_out[:_MOST_NAMED],
        }

    def delete_environment(self, name: str) -> EnvironmentDeleted:
        """Remove an environment of the user's own; raises `Conflict` while a workspace may need it."""
        return self._saving.delete(name, self._needs())

    @cached_property
    def _saving(self) -> EnvironmentSaver:
        return EnvironmentSaver(self._lifecycle, self._images, self._environments, self._workspace_store)

    @cached_property
    def _builder(self) -> EnvironmentBuilder:
        from pyro_mcp.builds import EnvironmentBuilder  # noqa: PLC0415 - few commands build

        return EnvironmentBuilder(self._lifecycle, self._images, self._environments, self._saving)
