"""Find the files that a machine boots from by the name of its environment."""

from __future__ import annotations

from dataclasses import replace

from pyro_mcp.engine import BOOT_MODULES, System
from pyro_mcp.environments import EnvironmentStore, RootImage, load_order
from pyro_mcp.errors import Conflict, InvalidRequest
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.machines.machine_store import MachineRecord

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Images:
    """Joins an environment's root image and the guest kernel into a bootable system."""

    def __init__(self, environments: EnvironmentStore) -> None:
        self._environments = environments

    def pulled(self, name: str, progress: Progress = silent) -> RootImage:
        """Return the image; pull or build it, and the kernel, where they are not installed."""
        if not isinstance(name, str):
            raise InvalidRequest("an environment is given by its name", hint="for example: debian:12")
        image = self._environments.installed(name) or self._environments.pull(name, progress)
        self._environments.kernel(progress)
        return image

    def build_of(self, record: MachineRecord) -> RootImage | None:
        """Return the build that a machine's disk was made on, also an old one; None before its first start."""
        return self._environments.find_build(record.environment, record.root_digest) if record.root_digest else None

    def of_disk(self, record: MachineRecord, progress: Progress = silent) -> RootImage:
        """Return the build that a machine's disk was made on, or the current one if it has none."""
        build = self.build_of(record)
        if build is None:
            return self.pulled(record.environment, progress)
        self._environments.kernel(progress)
        return build

    def for_reset(
        self, record: MachineRecord, snapshot: str, *, system_of: str | None, progress: Progress = silent
    ) -> RootImage:
        """Return what a machine is started on when it is reset to `snapshot`, which holds the system of that digest.

        Raises `Conflict` when the build of that digest is gone: on another one the system would be a mix of both.
        """
        image = self.of_disk(replace(record, root_digest=system_of), progress)
        if system_of not in (None, image.digest):
            raise Conflict(
                f"the build of {record.environment} that the system of {snapshot!r} was made with is gone",
                hint="nothing was changed; the baseline and snapshots without a system can still be reset to",
            )
        return image

    def installed(self, name: str) -> RootImage | None:
        """Return the image, None when it is not installed."""
        return self._environments.installed(name)

    def system(self, image: RootImage) -> System:
        """Return what a machine with this image boots from."""
        kernel = self._environments.kernel()
        modules = tuple(load_order(kernel.modules, BOOT_MODULES))
        return System(kernel.vmlinuz, kernel.digest, modules, image.path, image.digest)

    def environ(self, name: str) -> dict[str, str]:
        """Return the variables that commands start with: the image's own, and PATH and HOME."""
        image = self._environments.installed(name)
        return {"PATH": _PATH, "HOME": "/root"} | (image.environ if image else {})
