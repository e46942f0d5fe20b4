"""What `Pyro` is put together from; each part is made when it is first needed."""

from __future__ import annotations

import copy
import sys
from functools import cached_property
from pathlib import Path
from typing import Self

from pyro_mcp.engine import Engine, HostCompat
from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.errors import NotFound
from pyro_mcp.host.files import cache_home, private_directory, state_home
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.host.staging import remove_abandoned_staging
from pyro_mcp.machines import (
    GUEST,
    HOST_COMPAT,
    Folders,
    Images,
    Lifecycle,
    MachineStore,
    OneShotMachines,
    Spares,
)
from pyro_mcp.workspaces import (
    EnvironmentsInUse,
    Recovery,
    RepairReport,
    WorkspaceAccess,
    WorkspaceStore,
    environments_in_use,
    remove_abandoned_exports,
)

_SPARE_MAKER = Path(__file__).with_name("spare_maker.py")


class Components:
    """The parts that every group of verbs shares."""

    def __init__(
        self,
        *,
        cache: Path | None = None,
        state: Path | None = None,
        progress: Progress = silent,
        engine: Engine | None = None,
    ) -> None:
        self._given_cache = cache
        self._given_state = state
        self._given_engine = engine
        self._progress = progress

    def reporting_to(self, progress: Progress) -> Self:
        """Return a copy for the same machines that reports progress to `progress`."""
        copied = copy.copy(self)
        copied._progress = progress
        return copied

    @cached_property
    def _cache(self) -> Path:
        return private_directory(self._given_cache) if self._given_cache else cache_home()

    @cached_property
    def _state(self) -> Path:
        return private_directory(self._given_state) if self._given_state else state_home()

    @cached_property
    def _engine(self) -> Engine:
        return self._given_engine or GuestEngine(self._cache)

    @cached_property
    def _environments(self) -> EnvironmentStore:
        return EnvironmentStore(self._cache, own=self._state / "environments")

    @cached_property
    def _images(self) -> Images:
        return Images(self._environments)

    @cached_property
    def _lifecycle(self) -> Lifecycle:
        engines: dict[str, Engine] = {GUEST: self._engine, HOST_COMPAT: HostCompat()}
        folders = Folders(self._state)
        store = MachineStore(self._state / "pyro.db")
        return Lifecycle(store, folders, engines.__getitem__, self._images.system, self._spares)

    @cached_property
    def _spares(self) -> Spares:
        maker = (sys.executable, "-P", str(_SPARE_MAKER), str(self._cache), str(self._state))
        return Spares(self._state / "spares", () if self._given_engine else maker)

    @cached_property
    def _vms(self) -> OneShotMachines:
        return OneShotMachines(self._lifecycle, self._images)

    @cached_property
    def _workspace_store(self) -> WorkspaceStore:
        return WorkspaceStore(self._lifecycle.store)

    @cached_property
    def _workspace_access(self) -> WorkspaceAccess:
        return WorkspaceAccess(self._lifecycle, self._images, self._workspace_store)

    def _workspace_named(self, name: str) -> str:
        try:
            return self._workspace_store.named(name)
        except NotFound:
            ids = [one.id for one in self._recovery.unknown() if one.name == name]
            if len(ids) != 1:
                raise
            return ids[0]

    @cached_property
    def _recovery(self) -> Recovery:
        return Recovery(self._lifecycle, self._workspace_store)

    def _needs(self) -> EnvironmentsInUse:
        """Collect the environments that machines use."""
        return environments_in_use(self._lifecycle.store, self._recovery)

    def _repair(self, *, reap: bool = False) -> RepairReport:
        """Settle what dead processes left, and end what is over. Costs a look at each machine."""
        self._engine.remove_leftovers()
        self._spares.remove_leftovers(self._engine, everything=reap)
        remove_abandoned_staging(self._state)
        remove_abandoned_exports(self._state)
        return self._recovery.repair(reap=reap)
