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
from pyro_mcp.workspaces import OpenWorkspace, Service, ServiceStore, WorkspaceAccess

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

    def __init__(self, inside: WorkspaceAccess, book: ServiceStore, folders: Folders) -> None:
        self._inside = inside
        self._book = book
        self._folders = folders

    def start(self, id_: str, wish: ServiceSpec) -> ServiceInfo:
        """Start a service and wait until it is ready; raises `GuestFailed` with its last words when it dies."""
        with self._inside.entered(id_) as room:
            given = room.secrets.environ(wish.secret_env)
            place = RunContext(room.place(wish.cwd), {**room.environ, **given}, tuple(sorted(given)))
            probe = probe_of(wish.readiness, place)
            keeper = SessionClient(room.session)
            self._make_way(id_, wish.name, room, keeper)
            with self._published(room.record, wish.ports) as ports:
                service = self._launch(room, keeper, wish, place, ports)
                service = self._await(service, wish, probe, room, keeper)
        self._inside.note(id_, "service", {"action": "start", "service_name": wish.name, "state": service.state})
        return _info(service)

    def list(self, id_: str) -> ServiceList:
        found = [_info(one) for one in self._observed(id_)]
        running = sum(one["state"] in ("starting", "running") for one in found)
        return {"workspace_id": id_, "count": len(found), "running_count": running, "services": found}

    def status(self, id_: str, name: str) -> ServiceInfo:
        self._inside.require(id_)
        self._book.get(id_, name)
        return next(one for one in self.list(id_)["services"] if one["service_name"] == name)

    def logs(self, id_: str, name: str, *, tail_lines: int | None) -> ServiceLogs:
        if tail_lines is not None and tail_lines < 1:
            raise InvalidRequest(f"tail_lines is at least 1, not {tail_lines}")
        self._inside.require(id_)
        self._book.get(id_, name)
        with self._inside.entered(id_) as room:
            texts, lost = _written(room, SessionClient(room.session), name)
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
        self._inside.require(id_)
        service = self._book.get(id_, name)
        with self._inside.entered(id_) as room:
            if service.machine != room.record.pid:
                return self.status(id_, name)
            try:
                kept = SessionClient(room.session).stop(f"{_PREFIX}{name}", _GRACE_SECONDS)
            except NotFound:  # whoever was about to start it finds that we were quicker
                return _info(self._ended_with_machine(service) if service.going else service)
            self._close(room.record, service)
            if not service.going:  # what it had left behind has ended now
                return _info(service)
            service = self._book.change(
                service, state="stopped", exit_code=kept.exit_code, ended_at=time.time(), ports=()
            )
        self._inside.note(id_, "service", {"action": "stop", "service_name": name, "exit_code": kept.exit_code})
        return _info(service)

    def _make_way(self, id_: str, name: str, room: OpenWorkspace, keeper: SessionClient) -> None:
        """Let go of an earlier service of that name; raises `Conflict` while it runs."""
        try:
            kept = keeper.status(f"{_PREFIX}{name}")
        except NotFound:
            return
        if kept.exit_code is None:
            raise Conflict(f"the service {name} of {id_} runs already", hint="stop it first, or take another name")
        keeper.forget(f"{_PREFIX}{name}")
        with suppress(NotFound):
            self._close(room.record, self._book.get(id_, name))

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

    def _watch(self, service: Service, room: OpenWorkspace) -> None:
        """Have its ports closed when it ends, whichever of our processes live then."""
        if service.ports:
            with room.connect_lasting() as session:
                lives = session.begin(SessionClient.until_end(f"{_PREFIX}{service.name}"))
                Ports(room.record, self._folders).watch([host for host, _ in service.ports], lives)

    def _launch(
        self,
        room: OpenWorkspace,
        keeper: SessionClient,
        wish: ServiceSpec,
        place: RunContext,
        ports: Sequence[tuple[int, int]],
    ) -> Service:
        program = Program(shell_words(wish.command), place.cwd, place.environ, _CAPACITY)
        command = wish.command if isinstance(wish.command, str) else list(wish.command)
        # Recorded before it runs: should we die in between, a stop still finds it.
        service = self._book.begin(
            Service(
                workspace_id=room.record.id,
                name=wish.name,
                command=room.mask.everything(command),
                cwd=room.mask.text(place.cwd),
                readiness=room.mask.everything(dict(wish.readiness)) if wish.readiness else None,
                ports=tuple(ports),
                secret_env=place.secret_env,
                machine=room.record.pid or 0,
                state="starting",
                started_at=time.time(),
                ready_by=time.time() + wish.timeout_seconds,
            )
        )
        try:
            kept = keeper.open(f"{_PREFIX}{wish.name}", "pipes", program)
        except (InvalidRequest, Conflict) as error:
            self._book.remove(service)
            raise type(error)(f"the service {wish.name} cannot start: {error.message}", hint=error.hint) from error
        service = self._book.change(service, pid=kept.pid)
        if not service.going:
            keeper.stop(f"{_PREFIX}{wish.name}", _GRACE_SECONDS)
            raise Conflict(f"the service {wish.name} was stopped while it started", hint="start it again")
        return service

    def _await(
        self, service: Service, wish: ServiceSpec, probe: Probe | None, room: OpenWorkspace, keeper: SessionClient
    ) -> Service:
        """The service once it is ready; otherwise nothing of it runs any more, and its record says why."""
        name = f"{_PREFIX}{service.name}"
        try:
            self._watch(service, room)
            _until_ready(name, wish, probe, room, keeper)
        except BaseException as error:
            message = error.message if isinstance(error, PyroError) else "its start was broken off"
            last, code = self._broken_off(room, service)
            self._book.change(
                service, state="failed", failure=room.mask.text(message), exit_code=code, ended_at=time.time(), ports=()
            )
            if not isinstance(error, PyroError):
                raise
            raise type(error)(
                f"the service {service.name} did not start: {error.message}\n{last}".rstrip(),
                hint=Hint("{} shows its whole output", Verb("workspace service logs")),
            ) from error
        return self._book.change(service, state="running", ready_at=time.time())

    @staticmethod
    def _broken_off(room: OpenWorkspace, service: Service) -> tuple[str, int | None]:
        """Stop a service whose start did not come to its end; what it wrote last, and its exit code."""
        last, code = "", None
        # Over another connection: on the first, answers to what was broken off may still come.
        with suppress(PyroError), room.connect() as session:
            keeper = SessionClient(session)
            with suppress(PyroError):
                last = _last_words(room, keeper, service.name)
            code = keeper.stop(f"{_PREFIX}{service.name}", _GRACE_SECONDS).exit_code
        return last, code

    def _observed(self, id_: str) -> Sequence[Service]:
        """The records, after a look into the machine if it runs and any is thought to run there."""
        self._inside.require(id_)
        services = self._book.of(id_)
        if not any(one.going for one in services):
            return services
        try:
            with self._inside.entered(id_) as room:
                kept = SessionClient(room.session).list()
                return [
                    self._settled(room, one, kept.get(f"{_PREFIX}{one.name}")) if one.going else one for one in services
                ]
        except Busy:
            raise
        except Conflict:  # it does not run
            return [self._ended_with_machine(one) if one.going else one for one in services]

    def _settled(self, room: OpenWorkspace, service: Service, kept: SessionStatus | None) -> Service:
        if service.machine != room.record.pid:
            return self._ended_with_machine(service)
        if kept is None and service.about_to_start(time.time()):
            return service
        if kept is None:  # something in the guest has killed its keeper
            self._close(room.record, service)
            return self._ended_with_machine(service)
        if kept.exit_code is None:
            return self._overdue(room, service) if service.state == "starting" else self._as_shown(room, service)
        self._close(room.record, service)
        return self._book.change(service, state="exited", exit_code=kept.exit_code, ended_at=time.time(), ports=())

    def _as_shown(self, room: OpenWorkspace, service: Service) -> Service:
        """A running service with those of its ports that are open: they close with the gateway, should that die."""
        if not service.ports:
            return service
        shown = set(Ports(room.record, self._folders).shown())
        open_ports = tuple(port for port in service.ports if port in shown)
        return service if open_ports == service.ports else self._book.change(service, ports=open_ports)

    def _overdue(self, room: OpenWorkspace, service: Service) -> Service:
        """A service in its start: when whoever started it has died, what that one would have found out."""
        if not service.overdue(time.time()):
            return service
        probe = probe_of(service.readiness, RunContext(service.cwd, room.environ))
        if probe is None or probe(room):
            return self._book.change(service, state="running", ready_at=time.time())
        kept = SessionClient(room.session).stop(f"{_PREFIX}{service.name}", _GRACE_SECONDS)
        self._close(room.record, service)
        failure = "it was not ready in time, and whoever started it had died"
        return self._book.change(
            service, state="failed", failure=failure, exit_code=kept.exit_code, ended_at=time.time(), ports=()
        )

    def _ended_with_machine(self, service: Service) -> Service:
        return self._book.change(service, state="stopped", ended_at=time.time(), ports=())


def _until_ready(name: str, wish: ServiceSpec, probe: Probe | None, room: OpenWorkspace, keeper: SessionClient) -> None:
    """Wait until the service is ready.

    Raises `GuestFailed` when it ends first, `DeadlineExceeded` when it is late, `Interrupted` when it is broken off.
    """
    end, pause = time.monotonic() + wish.timeout_seconds, _FIRST_PAUSE_MS
    while True:
        if probe is not None and probe(room):
            return
        kept = keeper.wait(name, round(pause) if probe is not None else _PROVEN_MS)
        if kept.exit_code is not None:
            raise GuestFailed(f"it ended with {kept.exit_code} before it was ready")
        if probe is None:
            return
        left = end - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"it was not ready within {wish.timeout_seconds:g} s")
        if wish.interrupt is not None and select.select([wish.interrupt], [], [], 0)[0]:
            raise Interrupted("its start was broken off")
        pause = min(pause * _GROWTH, wish.interval_ms, left * 1000)


def _written(room: OpenWorkspace, keeper: SessionClient, name: str) -> tuple[list[str], bool]:
    """All that is kept of both streams, masked; whether something before it is lost."""
    texts, lost, full = [], False, f"{_PREFIX}{name}"
    try:
        kept = keeper.status(full)
    except NotFound as error:
        raise NotFound(
            f"what the service {name} wrote is gone with the machine it ran in", hint="start the service again"
        ) from error
    for stream in range(2):
        now, data = keeper.read_all(full, stream=stream, cursor=0, most=_CAPACITY)
        # Just after what was dropped, it may begin with the rest of a secret; at its end, with the first half of one.
        begin = min(len(data), room.mask.reach) if now.start else 0
        end = len(data) if kept.exit_code is not None or not room.mask else room.mask.held_from(data)
        texts.append(room.mask.onward(data[: max(begin, end)], begin)[1].decode(errors="replace"))
        lost = lost or now.start > 0
    return texts, lost


def _last_words(room: OpenWorkspace, keeper: SessionClient, name: str) -> str:
    texts, _ = _written(room, keeper, name)
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
