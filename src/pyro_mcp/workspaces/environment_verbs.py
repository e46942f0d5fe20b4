"""The verbs about environments of the user's own."""

from __future__ import annotations

from functools import cached_property

from pyro_mcp.results import EnvironmentDeleted, EnvironmentDetails
from pyro_mcp.workspaces.parts import Parts
from pyro_mcp.workspaces.saving import Saving


class EnvironmentVerbs(Parts):
    """Environments that grow from work: `create_workspace` and `run_in_vm` take their names like any other."""

    def save_environment(self, name: str, *, workspace_id: str, replace: bool = False) -> EnvironmentDetails:
        """Make an environment of a workspace's system: all of / with its installed packages, without /workspace.

        The workspace may run or be stopped, and goes on unchanged. A file that holds the value of one of its secrets
        is an error. The environment stays until `delete_environment`; with `replace` it replaces an older one.
        """
        return self._saving.save(name, workspace_id, replace=replace, progress=self._progress)

    def delete_environment(self, name: str) -> EnvironmentDeleted:
        """Remove an environment of the user's own; raises `Conflict` while a workspace needs it."""
        return self._saving.delete(name)

    @cached_property
    def _saving(self) -> Saving:
        return Saving(self._lifecycle, self._images, self._environments, self._ledger)
