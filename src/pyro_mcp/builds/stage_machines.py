"""The machines of a build: each held by us alone, and gone at the end of its block."""

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
    """How a build is done: the shape and network of its machines, and how long one step may take."""

    shape: Shape
    link: NetworkPolicy
    step_seconds: float
    build_args: Mapping[str, str]
    target: str | None = None


class BuildMachines:
    """Starts the machines of builds."""

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

    def environment(self, one: Instruction, reference: str) -> str:
        """The name of the environment that an instruction means: one that we have, else an image of a registry."""
        if one.flags.get("platform", _PLATFORMS[0]) not in _PLATFORMS:
            raise one.fault(f"--platform={one.flags['platform']} is not supported; machines are linux/amd64")
        if reference == "scratch":
            raise one.fault("scratch is not supported", hint="begin with debian:12-base")
        try:
            self._environments.inspect(reference)
        except (UnknownEnvironment, InvalidRequest):
            try:
                return normalize_image_name(reference)
            except InvalidRequest as error:
                raise one.fault(error.message, hint=error.hint) from error
        return reference

    def environ(self, environment: str) -> dict[str, str]:
        """The variables that commands of an environment begin with."""
        return self._images.environ(environment)

    @contextmanager
    def fresh(self, environment: str) -> Iterator[MachineRecord]:
        """A running machine of an environment."""
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
                network=self._options.link,
            )

        with self._running(register) as record:
            yield record

    @contextmanager
    def after(self, before: MachineRecord) -> Iterator[MachineRecord]:
        """A running machine that begins with the disk of a stopped one."""

        def register(id_: str) -> MachineRecord:
            link = self._options.link
            twin = register_fork(
                self._lifecycle, id_, before, before.layers, ttl_seconds=_TTL_SECONDS, one_shot=True, network=link
            )
            return replace(twin, root_digest=before.root_digest)

        with self._running(register) as record:
            yield record

    @contextmanager
    def reading(self, before: MachineRecord) -> Iterator[Connection]:
        """A connection to a machine that only reads the disk of a stopped one."""
        with (
            register_inspector(self._lifecycle, before, before.layers) as twin,
            start_inspector(self._lifecycle, self._images, twin) as session,
        ):
            yield session

    @contextmanager
    def session(self, record: MachineRecord) -> Iterator[Connection]:
        """A connection to a running machine."""
        with self._lifecycle.connect(record) as session:
            yield session

    def stop(self, record: MachineRecord) -> MachineRecord:
        """Flush and end a running machine, so that its disk can be shared."""
        return self._lifecycle.stop(self._lifecycle.store.get(record.id))

    @contextmanager
    def _running(self, register: Callable[[str], MachineRecord]) -> Iterator[MachineRecord]:
        with self._lifecycle.reserve_id("bd") as id_:
            made = register(id_)
            yield self._lifecycle.start(made, self._images.of_disk(made), GUEST, self.progress)
            self._lifecycle.delete(self._lifecycle.store.get(id_))
