"""What `Pyro` is put together from; each part is made when it is first needed."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pyro_mcp.engine import Engine, HostCompat, Machines
from pyro_mcp.environments import Environments
from pyro_mcp.host.files import cache_home, private_directory, runtime_home, state_home
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.workspaces.images import Images
from pyro_mcp.workspaces.ledger import Ledger
from pyro_mcp.workspaces.lifecycle import GUEST, HOST_COMPAT, Folders, Lifecycle
from pyro_mcp.workspaces.phases import Phase
from pyro_mcp.workspaces.store import Record, Store
from pyro_mcp.workspaces.vms import Vms, is_vm


class Parts:
    """The parts that every group of verbs shares."""

    def __init__(
        self,
        *,
        cache: Path | None = None,
        state: Path | None = None,
        progress: Progress = silent,
        engine: Engine | None = None,
    ) -> None:
        self._cache = private_directory(cache) if cache else cache_home()
        self._state = private_directory(state) if state else state_home()
        self._progress = progress
        self._guests = engine or Machines(self._cache)
        self._environments = Environments(self._cache)
        self._images = Images(self._environments)

    @cached_property
    def _lifecycle(self) -> Lifecycle:
        engines: dict[str, Engine] = {GUEST: self._guests, HOST_COMPAT: HostCompat()}
        folders = Folders(self._state, runtime_home())
        store = Store(self._state / "pyro.db")
        return Lifecycle(store, folders, engines.__getitem__, self._images.system)

    @cached_property
    def _vms(self) -> Vms:
        return Vms(self._lifecycle, self._images)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._lifecycle.store)

    def _is_abandoned(self, record: Record) -> bool:
        """Whether nobody can want a machine any more that no living process works on."""
        if is_vm(record.id):
            return record.phase == Phase.FAILED
        return not self._ledger.has(record.id)  # its maker died before it was a workspace
