"""The verbs about environments and the host."""

from __future__ import annotations

from collections.abc import Collection

from pyro_mcp.core.components import Components
from pyro_mcp.core.doctor import report
from pyro_mcp.engine import requested
from pyro_mcp.machines import demo, prepare
from pyro_mcp.results import DemoReport, DoctorReport, EnvironmentDetails, EnvironmentList, PrepareReport, PruneReport


class HostVerbs(Components):
    """What this host has, and what machines boot from."""

    def list_environments(self) -> EnvironmentList:
        """List the catalogue, installed or not, and what was pulled from registries."""
        found = self._environments.list()
        return {"count": len(found), "environments": found}

    def pull_environment(self, environment: str) -> EnvironmentDetails:
        """Build or fetch an environment unless it is installed; about 15 s for `debian:12`."""
        self._images.pulled(environment, self._progress)
        return self._environments.inspect(environment)

    def inspect_environment(self, environment: str) -> EnvironmentDetails:
        """Return all that is known about an environment, installed or not."""
        return self._environments.inspect(environment)

    def prune_environments(self, keep: Collection[str] = ()) -> PruneReport:
        """Remove old versions, leftovers, warm templates, and registry images that are neither in `keep` nor in use.

        The builds that workspaces were made with stay, also those of workspaces that the database has lost; raises
        `Conflict` for one whose builds cannot be known. Warm templates go unless a machine runs on them; the next start
        of their shape boots once more (2-6 s under emulation).
        """
        self._spares.remove_leftovers(self._engine, everything=True)
        needs = self._needs()
        pruned = self._environments.prune({*keep, *needs.users}, needs.digests)
        # Saved machines come back by themselves, as quickly as they were made.
        return {**pruned, "freed_bytes": pruned["freed_bytes"] + self._engine.prune_templates()}

    def doctor(self, environment: str | None = None, *, accelerator: str | None = None) -> DoctorReport:
        """Report what this host has and lacks; with `environment`, also how soon a machine of it can start.

        `accelerator` is the one that shall run machines; without it that of `PYRO_ACCELERATOR`, else "auto".
        """
        return report(
            self._engine,
            self._images,
            environment,
            lambda: self._recovery,
            spares=lambda: self._spares,
            wish=requested(accelerator),
        )

    def prepare(self, environment: str = "debian:12", *, accelerator: str | None = None) -> PrepareReport:
        """Make an environment warm, and prove it with a throw-away create, exec, reset and delete.

        A template is that of one accelerator: `accelerator`, else that of `PYRO_ACCELERATOR`, else "auto".
        """
        return prepare(
            self._vms, self._engine, self._images, environment, accelerator=accelerator, progress=self._progress
        )

    def demo(self, environment: str = "debian:12", *, accelerator: str | None = None) -> DemoReport:
        """Create, start, exec and delete one machine, with timings."""
        return demo(self._vms, environment, accelerator=accelerator, progress=self._progress)
