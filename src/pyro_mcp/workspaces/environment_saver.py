"""Make environments out of the systems of machines."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace as changed

from pyro_mcp.environments import CustomDetails, EnvironmentStore, LayerWriter, StreamedSource
from pyro_mcp.errors import Conflict
from pyro_mcp.host.progress import Progress
from pyro_mcp.machines import (
    HOST_COMPAT,
    Images,
    Lifecycle,
    MachineRecord,
    Secrets,
    register_inspector,
    start_inspector,
)
from pyro_mcp.network import GuestCA
from pyro_mcp.results import EnvironmentDeleted, EnvironmentDetails
from pyro_mcp.workspaces.environments_in_use import EnvironmentsInUse
from pyro_mcp.workspaces.system_files import stream_system
from pyro_mcp.workspaces.workspace_store import WorkspaceStore


class EnvironmentSaver:
    """Saves systems as environments."""

    def __init__(
        self, lifecycle: Lifecycle, images: Images, environments: EnvironmentStore, workspace_store: WorkspaceStore
    ) -> None:
        self._lifecycle = lifecycle
        self._images = images
        self._environments = environments
        self._workspace_store = workspace_store

    def save(self, name: str, id_: str, *, replace: bool, progress: Progress) -> EnvironmentDetails:
        """Save the system of a workspace, running or stopped; a running one stands still for some 10 ms."""
        self._environments.check_name_free(name, replace=replace)
        self._workspace_store.get(id_)
        environ = self._images.environ(self._lifecycle.store.get(id_).environment)
        details = CustomDetails("saved", f"saved from {id_}", environ, {"workspace_id": id_})
        found = self._keep(name, id_, details, replace=replace, progress=progress)
        self._workspace_store.touch(id_)
        return found

    def _keep(
        self, name: str, id_: str, details: CustomDetails, *, replace: bool, progress: Progress
    ) -> EnvironmentDetails:
        """Make an environment of what a workspace's disk holds now."""
        with ExitStack() as stack:
            with self._lifecycle.lock_for_snapshot(id_) as record:
                if record.execution_mode == HOST_COMPAT:
                    raise Conflict("without a guest there is no system that could be saved")
                layers = self._lifecycle.freeze_layers(record)
                inspector = stack.enter_context(register_inspector(self._lifecycle, record, layers))
            return self._copied(name, record, inspector, details, replace=replace, progress=progress)

    def keep_stopped(
        self, name: str, record: MachineRecord, details: CustomDetails, *, replace: bool, progress: Progress
    ) -> EnvironmentDetails:
        """Make an environment of the disk of a machine that is held and stopped."""
        with register_inspector(self._lifecycle, record, record.layers) as inspector:
            return self._copied(name, record, inspector, details, replace=replace, progress=progress)

    def _copied(
        self,
        name: str,
        record: MachineRecord,
        inspector: MachineRecord,
        details: CustomDetails,
        *,
        replace: bool,
        progress: Progress,
    ) -> EnvironmentDetails:
        """Start `inspector`, which shares the disk of `record`, and copy the system out of it."""
        progress("starting a machine that reads the system", None)
        secrets = Secrets(self._lifecycle.folders.home(record.id))
        origin = {
            "parent": record.environment,
            "parent_version": record.environment_version,
            "parent_digest": record.root_digest,
            **details.origin,
        }
        with start_inspector(self._lifecycle, self._images, inspector) as connection:

            def stream(layer: LayerWriter) -> None:
                stream_system(connection, secrets, GuestCA(secrets.authority(record.network)), layer, progress)

            source = StreamedSource(name, changed(details, origin=origin), stream)
            self._environments.add(source, progress, replace=replace)
        return self._environments.inspect(name)

    def delete(self, name: str, needs: EnvironmentsInUse) -> EnvironmentDeleted:
        """Remove a custom environment; raises `Conflict` when a machine needs it."""
        users = sorted(needs.users.get(name, ()))
        if users:
            raise Conflict(f"{name} is in use by {', '.join(users[:10])}", hint="delete these first")
        freed = self._environments.delete(name)
        return {"name": name, "deleted": True, "freed_bytes": freed}
