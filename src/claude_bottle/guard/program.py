"""The guard's process: `python -P -m claude_bottle.guard FOLDER DESCRIPTOR`.

`FOLDER` has the guard's settings; `DESCRIPTOR` is the listening socket for the gateway. Standard input is a pipe that
the launching process holds open until the launch is over. The guard ends when the launch is over and no gateway is
connected any more; its gateway ends with it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from claude_bottle.audit import Decision, user_journal
from claude_bottle.guard.approvals import Approvals
from claude_bottle.guard.bottle_journal import BottleJournal
from claude_bottle.guard.database import guard_database
from claude_bottle.guard.gateway_guard import GatewayGuard
from claude_bottle.guard.journaling import recording
from claude_bottle.guard.part import Guarded, Part
from claude_bottle.guard.parts import parts_of
from claude_bottle.guard.presence import hold_presence, is_alive
from claude_bottle.guard.requests import Asker, Request, Requests
from claude_bottle.guard.settings import GuardSettings, read_settings
from pyro_mcp.errors import Conflict, PyroError
from pyro_mcp.host.confinement import restrict
from pyro_mcp.host.folder_watch import watch_folder
from pyro_mcp.network import Rules, SupervisedGateway, serve_supervisor

_LONGEST_WAIT = 1.0
"""Seconds after which the database is read in any case, so that no decision is late, even if no event comes."""


def main(arguments: Sequence[str]) -> NoReturn:
    """Guard one bottle to its end; never returns."""
    folder, listener = Path(arguments[0]), socket.socket(fileno=int(arguments[1]))
    restrict()
    os.umask(0o077)
    settings = read_settings(folder)
    hold_presence(folder, settings.guard)
    try:
        with Requests(guard_database(), recording()) as requests:
            requests.settle(is_alive)
            _Guard(folder, settings, requests).run(listener)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(0)  # waiting threads would delay any other end


class _Guard:
    """One guard, its gateway, and the approvals that are in effect."""

    def __init__(self, folder: Path, settings: GuardSettings, requests: Requests) -> None:
        self._settings, self._requests = settings, requests
        self._approvals = Approvals(requests, _asker(settings), settings.policy)
        journal = BottleJournal(user_journal(), settings)
        self._guarded = Guarded(settings, folder, guard_database(), journal, self._approvals)
        self._rules = Rules.from_json(settings.rules)
        self._lock = threading.Lock()
        self._gateway: SupervisedGateway | None = None
        self._opened: tuple[str, ...] = ()  # hosts, by its present rules
        self._granted: list[Request] | None = None
        self._ended = False

    def run(self, listener: socket.socket) -> None:
        """Serve the gateway until the launch is over and the gateway has ended."""
        self._record("started", {"rules": dict(self._settings.rules)})
        parts = parts_of(self._guarded)
        supervisor = GatewayGuard(self._guarded, parts)
        threading.Thread(target=self._accept, args=(listener, supervisor), daemon=True).start()
        threading.Thread(target=self._follow, args=(parts,), daemon=True).start()
        while os.read(0, 1):
            pass  # until the launching process has closed its end, or has died
        self._wait_for_gateway()
        self._ended = True
        self._requests.end(self._settings.guard)
        for part in parts:
            part.close()
        self._guarded.journal.close()
        self._record("ended", {})

    def _accept(self, listener: socket.socket, supervisor: GatewayGuard) -> None:
        while True:
            channel, _ = listener.accept()
            # Locked, because the gateway may run, and the launch be over, before we know of it.
            with self._lock, suppress(Conflict):
                self._gateway, self._opened = serve_supervisor(channel, supervisor), ()

    def _wait_for_gateway(self) -> None:
        while True:
            with self._lock:
                gateway = self._gateway
            if gateway is None or (gateway.wait() and gateway is self._gateway):
                return

    def _follow(self, parts: Sequence[Part]) -> None:
        """Put decisions into effect as soon as they are in the database."""
        with watch_folder(self._guarded.database.parent) as watch:
            while not self._ended:
                try:
                    self._approvals.refresh(partial(self._apply, parts))
                    left = self._approvals.next_end() - time.time()
                except PyroError:  # the next round tries again
                    traceback.print_exc()
                    left = _LONGEST_WAIT
                watch.wait(max(0.01, min(left, _LONGEST_WAIT)))

    def _apply(self, parts: Sequence[Part], granted: list[Request]) -> None:
        """Apply the approvals that are in effect to the gateway and the parts."""
        hosts = tuple(str(one.rule["host"]) for one in granted if one.kind == "host")
        with self._lock:
            gateway, opened = self._gateway, self._opened
        if gateway is not None and hosts != opened:
            gateway.set_rules(Rules((*self._rules.allow, *hosts), self._rules.published))
            with self._lock:
                if self._gateway is gateway:
                    self._opened = hosts
        if granted != self._granted:
            self._granted = granted
            for part in parts:
                part.changed()

    def _record(self, decision: Decision, what: dict[str, object]) -> None:
        self._guarded.record("guard", decision, rule=self._approvals.asker.policy, what=what)


def _asker(settings: GuardSettings) -> Asker:
    supervise = settings.config.get("supervise") or {}
    return Asker(
        guard=settings.guard,
        slug=settings.slug,
        bottle=settings.bottle,
        agent=settings.agent,
        policy=settings.policy(),
        timeout_seconds=float(supervise.get("timeout_seconds", _TIMEOUT_SECONDS)),
        grant_seconds=float(supervise.get("grant_seconds", _GRANT_SECONDS)),
    )


_TIMEOUT_SECONDS, _GRANT_SECONDS = 900.0, 3600.0
"""Where the manifest does not say: for secrets that must be asked for in a bottle whose agent may ask for nothing."""
