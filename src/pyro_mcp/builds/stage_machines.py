"""Start and delete the machines of a build: one for each stage, and short-lived ones for `COPY --from`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pyro_mcp.engine import Connection, Shape
from pyro_mcp.environments import EnvironmentStore, Instruction, normalize_image_name
from pyro_mcp.errors import InvalidRequest, UnknownEnvironment
from pyro_mcp.host.progress import Progress
from pyro_mcp.machines import (
    GUEST,
    Images,
    Lifecycle,
    MachineRecord,
    NetworkPolicy,
    register_fork,
    register_inspector,
    start_inspector,
)

_TTL_SECONDS = 24 * 3600.0
_PLATFORMS = ("linux/amd64", "$BUILDPLATFORM", "$TARGETPLATFORM", "${BUILDPLATFORM}", "${TARGETPLATFORM}")


@dataclass(frozen=True)
class BuildOptions:
    """The options of a build: shape and network of its machines, the time limit of one step, and so on."""

    shape: Shape
    network_policy: NetworkPolicy
    step_seconds: float
    build_args: Mapping[str, str]
    target: str | None = None
    accelerator: str | None = None


class BuildMachines:
    """Starts the machines of one build. Each exists as long as its context manager's block, locked by this process."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        images: Images,
        environments: EnvironmentStore,
        options: BuildOptions,
        progress: Progress,
    ) -> None:
        self._lifecycle = lifecycle
        self._images = images
        self._environments = environments
        self._options = options
        self.progress = progress

    def environment(self, instruction: Instruction, reference: str) -> str:
        """Return the environment for an image reference: a known environment, else the image of a registry."""
        platform = instruction.flags.get("platform", _PLATFORMS[0])
        if platform not in _PLATFORMS:
            raise instruction.error(f"--platform={platform} is not supported; machines are linux/amd64")
        if reference == "scratch":
            raise instruction.error("scratch is not supported", hint="use FROM debian:12-base")
        try:
            self._environments.inspect(reference)
        except (UnknownEnvironment, InvalidRequest):
            try:
                return normalize_image_name(reference)
            except InvalidRequest as error:
                raise instruction.error(error.message, hint=error.hint) from error
        return reference

    def environ(self, environment: str) -> dict[str, str]:
        """Return the environment variables that an environment sets for its commands."""
        return self._images.environ(environment)

    @contextmanager
    def from_environment(self, environment: str) -> Iterator[MachineRecord]:
        """Start a machine of an environment, which is pulled if needed."""
        version = self._images.pulled(environment, self.progress).version

        def register(id_: str) -> MachineRecord:
            return self._lifecycle.create(
                id_,
                environment,
                version,
                self._options.shape,
                ttl_seconds=_TTL_SECONDS,
                allow_host_compat=False,
                one_shot=True,
                network=self._options.network_policy,
                accelerator=self._options.accelerator,
            )

        with self._running(register) as record:
            yield record

    @contextmanager
    def from_stopped(self, stopped: MachineRecord) -> Iterator[MachineRecord]:
        """Start a machine on a copy-on-write layer over the disk of a stopped machine."""

        def register(id_: str) -> MachineRecord:
            fork = register_fork(
                self._lifecycle,
                id_,
                stopped,
                stopped.layers,
                ttl_seconds=_TTL_SECONDS,
                one_shot=True,
                network=self._options.network_policy,
            )
            return replace(fork, root_digest=stopped.root_digest)

        with self._running(register) as record:
            yield record

    @contextmanager
    def inspect(self, stopped: MachineRecord) -> Iterator[Connection]:
        """Connect to an inspector: a machine that only reads the disk of a stopped machine."""
        with (
            register_inspector(self._lifecycle, stopped, stopped.layers) as inspector,
            start_inspector(self._lifecycle, self._images, inspector) as connection,
        ):
            yield connection

    @contextmanager
    def connection(self, record: MachineRecord) -> Iterator[Connection]:
        """Connect to a running machine."""
        with self._lifecycle.connect(record) as connection:
            yield connection

    def stop(self, record: MachineRecord) -> MachineRecord:
        """Flush the disk of a running machine and stop it, so that other machines can share the disk."""
        return self._lifecycle.stop(self._lifecycle.store.get(record.id))

    @contextmanager
    def _running(self, register: Callable[[str], MachineRecord]) -> Iterator[MachineRecord]:
        with self._lifecycle.reserve_id("bd") as id_:
            registered = register(id_)
            yield self._lifecycle.start(registered, self._images.of_disk(registered), GUEST, self.progress)
            self._lifecycle.delete(self._lifecycle.store.get(id_))
