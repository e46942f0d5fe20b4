"""Services: named programs in the background of a workspace, which outlive every process of the host."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pyro_mcp.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    GuestFailed,
    Interrupted,
    InvalidRequest,
    NotFound,
    PyroError,
)
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.machines import Folders, MachineRecord, Ports, SecretEnv, shell_words
from pyro_mcp.results import PortWanted, ServiceInfo, ServiceList, ServiceLogs
from pyro_mcp.sessions.client import Program, SessionClient, SessionStatus
from pyro_mcp.sessions.readiness import Probe, RunContext, check_port, probe_of
from pyro_mcp.workspaces import OpenWorkspace, Service, ServiceStore, WorkspaceAccess, find_service

_CAPACITY = 4 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PREFIX = "service."
_GRACE_SECONDS = 5.0
_LONGEST_START = 600.0
_FIRST_PAUSE_MS, _GROWTH = 10.0, 1.4
# How long a service without a readiness must live to count as started.
_PROVEN_MS = 50
_LAST_LINES = 20
_MOST_PORTS = 32


@dataclass(frozen=True)
class ServiceSpec:
    """A service to be started; times in seconds, but for `interval_ms`. Its start ends when `interrupt` is readable."""

    name: str
    command: str | Sequence[str]
    cwd: str
    readiness: Mapping[str, object] | None
    timeout_seconds: float
    interval_ms: float
    secret_env: SecretEnv | None
    ports: Sequence[PortWanted]
    interrupt: int | None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InvalidRequest(
                f"{self.name!r} cannot name a service", hint="use letters, digits, '-' and '_', 64 at most"
            )
        if not 0 < self.timeout_seconds <= _LONGEST_START:
            raise InvalidRequest(f"ready_timeout_seconds is above 0 and at most {_LONGEST_START:g}")
        if not 1 <= self.interval_ms <= 60_000:
            raise InvalidRequest("ready_interval_ms is from 1 to 60000")
        if len(self.ports) > _MOST_PORTS:
            raise InvalidRequest(f"a service publishes at most {_MOST_PORTS} ports")


class Services:
    """The services of the workspaces of one state folder."""

    def __init__(self, access: WorkspaceAccess, store: ServiceStore, folders: Folders) -> None:
        self._access = access
        self._store = store
        self._folders = folders

    def start(self, id_: str, spec: ServiceSpec) -> ServiceInfo:
        """Start a service and wait until it is ready; raises `GuestFailed` with its last words when it dies."""
        with self._access.open(id_) as workspace:
            given = workspace.secrets.environ(spec.secret_env)
            context = RunContext(workspace.guest_path(spec.cwd), {**workspace.environ, **given}, tuple(sorted(given)))
            probe = probe_of(spec.readiness, context)
            client = SessionClient(workspace.connection)
            former = self._make_way(id_, spec.name, workspace, client)
            with self._published(workspace.record, spec.ports) as ports:
                service = self._launch(workspace, client, spec, context, ports, former=former)
                service = self._await(service, spec, probe, workspace, client)
        self._access.note(workspace, "service", {"action": "start", "service_name": spec.name, "state": service.state})
        return _info(service)

    def list(self, id_: str) -> ServiceList:
        found = [_info(one) for one in self._observed(id_)]
        running = sum(one["state"] in ("starting", "running") for one in found)
        return {"workspace_id": id_, "count": len(found), "running_count": running, "services": found}

    def status(self, id_: str, name: str) -> ServiceInfo:
        return next(_info(one) for one in self._observed(id_, name) if one.name == name)

    def logs(self, id_: str, name: str, *, tail_lines: int | None) -> ServiceLogs:
        if tail_lines is not None and tail_lines < 1:
            raise InvalidRequest(f"tail_lines is at least 1, not {tail_lines}")
        with self._store.kept_open():
            self._access.require(id_)
            self._store.get(id_, name)
        with self._access.open(id_) as workspace:
            texts, lost = _written(workspace, SessionClient(workspace.connection), name)
        status = self.status(id_, name)
        tails = [_tail(text, tail_lines) for text in texts]
        return {
            "workspace_id": id_,
            "service_name": name,
            "state": status["state"],
            "exit_code": status["exit_code"],
            "stdout": tails[0],
            "stderr": tails[1],
            "tail_lines": tail_lines,
            "truncated": lost or any(tail != text for tail, text in zip(tails, texts, strict=True)),
        }

    def stop(self, id_: str, name: str) -> ServiceInfo:
        with self._store.kept_open():
            self._access.require(id_)
            service = self._store.get(id_, name)
        with self._access.open(id_) as workspace:
            if service.machine != workspace.record.pid:
                return self.status(id_, name)
            try:
                status = SessionClient(workspace.connection).stop(f"{_PREFIX}{name}", _GRACE_SECONDS)
            except NotFound:  # whoever was about to start it finds that we were quicker
                return _info(self._ended_with_machine(service) if service.going else service)
            self._close(workspace.record, service)
            if not service.going:  # what it had left behind has ended now
                return _info(service)
            service = self._store.change(
                service, state="stopped", exit_code=status.exit_code, ended_at=time.time(), ports=()
            )
        self._access.note(workspace, "service", {"action": "stop", "service_name": name, "exit_code": status.exit_code})
        return _info(service)

    def _make_way(self, id_: str, name: str, workspace: OpenWorkspace, client: SessionClient) -> Service | None:
        """Remove an earlier service of that name, and return its record; raises `Conflict` while it runs."""
        former = next((one for one in self._store.of(id_) if one.name == name), None)
        try:
            status = client.status(f"{_PREFIX}{name}")
        except NotFound:
            return former
        if status.exit_code is None:
            raise Conflict(f"the service {name} of {id_} runs already", hint="stop it first, or take another name")
        client.forget(f"{_PREFIX}{name}")
        if former is not None:
            self._close(workspace.record, former)
        return former

    @contextmanager
    def _published(self, record: MachineRecord, wanted: Sequence[PortWanted]) -> Iterator[Sequence[tuple[int, int]]]:
        """Show ports on the host; they are closed again when the block fails."""
        ports = Ports(record, self._folders)
        found: tuple[tuple[int, int], ...] = ()
        try:
            for one in wanted:
                guest = check_port(one.get("guest_port"), "a guest port")
                host = one.get("host_port")
                host = check_port(host, "a host port") if host is not None else None
                found = (*found, (ports.publish(host, guest), guest))
            yield found
        except BaseException:
            for host, _ in found:
                with suppress(PyroError):
                    ports.unpublish(host)
            raise

    def _close(self, record: MachineRecord, service: Service) -> None:
        for host, _ in service.ports:
            with suppress(NotFound, Conflict):  # a gateway that has died has no ports
                Ports(record, self._folders).unpublish(host)

    def _watch(self, service: Service, workspace: OpenWorkspace) -> None:
        """Make the gateway close the service's ports when it ends, even if no other process of ours is left."""
        if service.ports:
            with workspace.connect(long_running=True) as connection:
                lives = connection.run_detached(SessionClient.until_end(f"{_PREFIX}{service.name}"))
                Ports(workspace.record, self._folders).watch([host for host, _ in service.ports], lives)

    def _launch(
        self,
        workspace: OpenWorkspace,
        client: SessionClient,
        spec: ServiceSpec,
        context: RunContext,
        ports: Sequence[tuple[int, int]],
        *,
        former: Service | None,
    ) -> Service:
        program = Program(shell_words(spec.command), context.cwd, context.environ, _CAPACITY)
        command = spec.command if isinstance(spec.command, str) else list(spec.command)
        # Recorded before it runs: should we die in between, a stop still finds it.
        service = self._store.begin(
            Service(
                workspace_id=workspace.record.id,
                name=spec.name,
                command=workspace.mask.everything(command),
                cwd=workspace.mask.text(context.cwd),
                readiness=workspace.mask.everything(dict(spec.readiness)) if spec.readiness else None,
                ports=tuple(ports),
                secret_env=context.secret_env,
                machine=workspace.record.pid or 0,
                state="starting",
                started_at=time.time(),
                ready_by=time.time() + spec.timeout_seconds,
            ),
            former,
        )
        try:
            status = client.open(f"{_PREFIX}{spec.name}", "pipes", program)
        except (InvalidRequest, Conflict) as error:
            self._store.remove(service)
            raise type(error)(f"the service {spec.name} cannot start: {error.message}", hint=error.hint) from error
        service = self._store.change(service, pid=status.pid)
        if not service.going:
            client.stop(f"{_PREFIX}{spec.name}", _GRACE_SECONDS)
            raise Conflict(f"the service {spec.name} was stopped while it started", hint="start it again")
        return service

    def _await(
        self, service: Service, spec: ServiceSpec, probe: Probe | None, workspace: OpenWorkspace, client: SessionClient
    ) -> Service:
        """Wait until the service is ready; on failure stop it and record why."""
        name = f"{_PREFIX}{service.name}"
        try:
            self._watch(service, workspace)
            _until_ready(name, spec, probe, workspace, client)
        except BaseException as error:
            message = error.message if isinstance(error, PyroError) else "its start was broken off"
            last, code = self._broken_off(workspace, service)
            self._store.change(
                service,
                state="failed",
                failure=workspace.mask.text(message),
                exit_code=code,
                ended_at=time.time(),
                ports=(),
            )
            if not isinstance(error, PyroError):
                raise
            raise type(error)(
                f"the service {service.name} did not start: {error.message}\n{last}".rstrip(),
                hint=Hint("{} shows its whole output", Verb("workspace service logs")),
            ) from error
        return self._store.change(service, state="running", ready_at=time.time())

    @staticmethod
    def _broken_off(workspace: OpenWorkspace, service: Service) -> tuple[str, int | None]:
        """Stop a service whose start failed; return what it wrote last and its exit code."""
        last, code = "", None
        # Over another connection: on the first, answers to what was broken off may still come.
        with suppress(PyroError), workspace.connect() as connection:
            client = SessionClient(connection)
            with suppress(PyroError):
                last = _last_words(workspace, client, service.name)
            code = client.stop(f"{_PREFIX}{service.name}", _GRACE_SECONDS).exit_code
        return last, code

    def _observed(self, id_: str, name: str | None = None) -> Sequence[Service]:
        """Return the records, brought up to date if the machine runs and one of them is recorded as running in it.

        Raises `NotFound` for a `name` that none of them has.
        """
        with self._store.kept_open():
            self._access.require(id_)
            services = self._store.of(id_)
            if name is not None:
                find_service(services, id_, name)
        if not any(one.going for one in services):
            return services
        try:
            with self._access.open(id_) as workspace:
                status = SessionClient(workspace.connection).list()
                return [
                    self._settled(workspace, one, status.get(f"{_PREFIX}{one.name}")) if one.going else one
                    for one in services
                ]
        except Busy:
            raise
        except Conflict:  # it does not run
            return [self._ended_with_machine(one) if one.going else one for one in services]

    def _settled(self, workspace: OpenWorkspace, service: Service, status: SessionStatus | None) -> Service:
        if service.machine != workspace.record.pid:
            return self._ended_with_machine(service)
        if status is None and service.about_to_start(time.time()):
            return service
        if status is None:  # something in the guest has killed its supervisor
            self._close(workspace.record, service)
            return self._ended_with_machine(service)
        if status.exit_code is None:
            return (
                self._overdue(workspace, service) if service.state == "starting" else self._as_shown(workspace, service)
            )
        self._close(workspace.record, service)
        return self._store.change(service, state="exited", exit_code=status.exit_code, ended_at=time.time(), ports=())

    def _as_shown(self, workspace: OpenWorkspace, service: Service) -> Service:
        """Return a running service with the ports that are open; a gateway that died has closed them."""
        if not service.ports:
            return service
        shown = set(Ports(workspace.record, self._folders).shown())
        open_ports = tuple(port for port in service.ports if port in shown)
        return service if open_ports == service.ports else self._store.change(service, ports=open_ports)

    def _overdue(self, workspace: OpenWorkspace, service: Service) -> Service:
        """Return a starting service; if the process that started it has died, probe it in its place."""
        if not service.overdue(time.time()):
            return service
        probe = probe_of(service.readiness, RunContext(service.cwd, workspace.environ))
        if probe is None or probe(workspace):
            return self._store.change(service, state="running", ready_at=time.time())
        status = SessionClient(workspace.connection).stop(f"{_PREFIX}{service.name}", _GRACE_SECONDS)
        self._close(workspace.record, service)
        failure = "it was not ready in time, and whoever started it had died"
        return self._store.change(
            service, state="failed", failure=failure, exit_code=status.exit_code, ended_at=time.time(), ports=()
        )

    def _ended_with_machine(self, service: Service) -> Service:
        return self._store.change(service, state="stopped", ended_at=time.time(), ports=())


def _until_ready(
    name: str, spec: ServiceSpec, probe: Probe | None, workspace: OpenWorkspace, client: SessionClient
) -> None:
    """Wait until the service is ready.

    Raises `GuestFailed` when it ends first, `DeadlineExceeded` when it is late, `Interrupted` when it is broken off.
    """
    end, pause = time.monotonic() + spec.timeout_seconds, _FIRST_PAUSE_MS
    while True:
        if probe is not None and probe(workspace):
            return
        status = client.wait(name, round(pause) if probe is not None else _PROVEN_MS)
        if status.exit_code is not None:
            raise GuestFailed(f"it ended with {status.exit_code} before it was ready")
        if probe is None:
            return
        left = end - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"it was not ready within {spec.timeout_seconds:g} s")
        if spec.interrupt is not None and select.select([spec.interrupt], [], [], 0)[0]:
            raise Interrupted("its start was broken off")
        pause = min(pause * _GROWTH, spec.interval_ms, left * 1000)


def _written(workspace: OpenWorkspace, client: SessionClient, name: str) -> tuple[list[str], bool]:
    """Return all that is kept of both streams, masked, and whether earlier output is lost."""
    texts, lost, full = [], False, f"{_PREFIX}{name}"
    try:
        status = client.status(full)
    except NotFound as error:
        raise NotFound(
            f"what the service {name} wrote is gone with the machine it ran in", hint="start the service again"
        ) from error
    for stream in range(2):
        now, data = client.read_all(full, stream=stream, cursor=0, most=_CAPACITY)
        # Just after what was dropped, it may begin with the rest of a secret; at its end, with the first half of one.
        begin = min(len(data), workspace.mask.reach) if now.start else 0
        end = len(data) if status.exit_code is not None or not workspace.mask else workspace.mask.held_from(data)
        texts.append(workspace.mask.onward(data[: max(begin, end)], begin)[1].decode(errors="replace"))
        lost = lost or now.start > 0
    return texts, lost


def _last_words(workspace: OpenWorkspace, client: SessionClient, name: str) -> str:
    texts, _ = _written(workspace, client, name)
    lines = [line for text in texts for line in _tail(text, _LAST_LINES).splitlines()]
    return "\n".join(["It wrote last:", *lines]) if lines else "It wrote nothing."


def _tail(text: str, lines: int | None) -> str:
    return text if lines is None else "".join(text.splitlines(keepends=True)[-lines:])


def _info(service: Service) -> ServiceInfo:
    return {
        "workspace_id": service.workspace_id,
        "service_name": service.name,
        "state": service.state,
        "command": service.command,
        "cwd": service.cwd,
        "readiness": service.readiness,
        "started_at": service.started_at,
        "ready_at": service.ready_at,
        "ended_at": service.ended_at,
        "exit_code": service.exit_code,
        "pid": service.pid,
        "failure": service.failure,
        "published_ports": [{"host_port": host, "guest_port": guest} for host, guest in service.ports],
        "secret_env": list(service.secret_env),
    }
