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
    registered_inspector,
    started_inspector,
)
from pyro_mcp.results import EnvironmentDeleted, EnvironmentDetails
from pyro_mcp.workspaces.needs import Needs
from pyro_mcp.workspaces.system_files import stream_system
from pyro_mcp.workspaces.workspace_store import WorkspaceStore


class Saving:
    """Saves systems as environments."""

    def __init__(
        self, lifecycle: Lifecycle, images: Images, environments: EnvironmentStore, ledger: WorkspaceStore
    ) -> None:
        self._lifecycle = lifecycle
        self._images = images
        self._environments = environments
        self._ledger = ledger

    def save(self, name: str, id_: str, *, replace: bool, progress: Progress) -> EnvironmentDetails:
        """Save the system of a workspace, running or stopped; a running one stands still for some 10 ms."""
        self._environments.check_name_free(name, replace=replace)
        self._ledger.get(id_)
        environ = self._images.environ(self._lifecycle.store.get(id_).environment)
        about = CustomDetails("saved", f"saved from {id_}", environ, {"workspace_id": id_})
        found = self._keep(name, id_, about, replace=replace, progress=progress)
        self._ledger.touch(id_)
        return found

    def _keep(
        self, name: str, id_: str, about: CustomDetails, *, replace: bool, progress: Progress
    ) -> EnvironmentDetails:
        """Make an environment of what a workspace's disk holds now."""
        with ExitStack() as stack:
            with self._lifecycle.freezing(id_) as record:
                if record.execution_mode == HOST_COMPAT:
                    raise Conflict("without a guest there is no system that could be saved")
                layers = self._lifecycle.freeze_layers(record)
                twin = stack.enter_context(registered_inspector(self._lifecycle, record, layers))
            return self._copied(name, record, twin, about, replace=replace, progress=progress)

    def keep_stopped(
        self, name: str, record: MachineRecord, about: CustomDetails, *, replace: bool, progress: Progress
    ) -> EnvironmentDetails:
        """Make an environment of the disk of a machine that is held and stopped."""
        with registered_inspector(self._lifecycle, record, record.layers) as twin:
            return self._copied(name, record, twin, about, replace=replace, progress=progress)

    def _copied(
        self,
        name: str,
        record: MachineRecord,
        twin: MachineRecord,
        about: CustomDetails,
        *,
        replace: bool,
        progress: Progress,
    ) -> EnvironmentDetails:
        """Start `twin`, which shares the disk of `record`, and copy the system out of it."""
        progress("starting a machine that reads the system", None)
        secrets = Secrets(self._lifecycle.folders.home(record.id))
        origin = {
            "parent": record.environment,
            "parent_version": record.environment_version,
            "parent_digest": record.root_digest,
            **about.origin,
        }
        with started_inspector(self._lifecycle, self._images, twin) as session:

            def stream(layer: LayerWriter) -> None:
                stream_system(session, secrets, layer, progress)

            source = StreamedSource(name, changed(about, origin=origin), stream)
            self._environments.add(source, progress, replace=replace)
        return self._environments.inspect(name)

    def delete(self, name: str, needs: Needs) -> EnvironmentDeleted:
        """Remove an environment of the user's own; raises `Conflict` when a machine needs it."""
        users = sorted(needs.users.get(name, ()))
        if users:
            raise Conflict(f"{name} is in use by {', '.join(users[:10])}", hint="delete these first")
        freed = self._environments.delete(name)
        return {"name": name, "deleted": True, "freed_bytes": freed}
