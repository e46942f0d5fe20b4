"""A push from its request to its report: quarantine, checks, a person's decision, and forwarding.

A push reaches the upstream only after it has passed all checks and was approved. A push that is not decided in time
stays held: after the approval, the same push is forwarded when it is sent again.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from claude_bottle.errors import UpstreamFailed
from claude_bottle.gate.commands import Commands, Update, asks, push_rule, read_commands, require_allowed, rule_key
from claude_bottle.gate.content import check_content
from claude_bottle.gate.exchange import Exchange
from claude_bottle.gate.git import Repository
from claude_bottle.gate.interface import PushApprovals, Record
from claude_bottle.gate.mirror import Mirror
from claude_bottle.gate.pkt_line import progress, report
from claude_bottle.gate.quarantine import PushLimits, Quarantine
from claude_bottle.gate.remotes import Remote
from claude_bottle.gate.secret_scan import find_secrets
from claude_bottle.gate.shown import HELD, HeldPush, describe
from claude_bottle.guard.requests import LONGEST_REASON, Request
from pyro_mcp.errors import InvalidRequest, PyroError
from pyro_mcp.host.files import private_directory
from pyro_mcp.visible import visible_line

RESULT = "application/x-git-receive-pack-result"
MOST_HELD = 8
"""The most pushes of one remote that are held at once."""
_COMMAND_BYTES = 256 * 1024
_MOST_READ = 16  # times the limit
_SHOWN = 600
_MOST_FAULTS = 10


@dataclass(frozen=True)
class Held:
    """A push that passed the checks: its folder, the rule that its approval allows, and the text for a person."""

    folder: Path
    rule: Mapping[str, Any]
    shown: HeldPush


class Pushes:
    """The pushes to one remote."""

    def __init__(
        self,
        folder: Path,
        mirror: Mirror,
        remotes: Sequence[Remote],
        approvals: PushApprovals,
        record: Record,
        *,
        limits: PushLimits,
        wait_seconds: float,
    ) -> None:
        self._folder = private_directory(folder)
        self._held = private_directory(folder / HELD)
        self._mirror, self._remotes, self._approvals, self._record = mirror, remotes, approvals, record
        self._limits, self._wait_seconds = limits, wait_seconds
        self._lock = threading.Lock()

    def receive(self, exchange: Exchange) -> None:
        """Answer the request of a push."""
        with TemporaryFile(dir=self._folder, buffering=0) as body:
            too_large = self._take(exchange, body)
            body.seek(0)
            commands = read_commands(body)
            if not commands.updates:  # git asks in this way if it may push at all
                exchange.answer(200, RESULT, b"")
                return
            if not commands.capabilities.issuperset({"report-status", "side-band-64k"}):
                raise InvalidRequest("this git is too old to push through the git gate")
            exchange.start(200, RESULT)
            refused = self._outcome(commands, None if too_large else body, lambda text: exchange.write(progress(text)))
            exchange.write(_report(commands, refused))
            exchange.end()

    def _take(self, exchange: Exchange, body: IO[bytes]) -> bool:
        """Write the request to a file; return whether it is too large. Git sends it all before it reads an answer."""
        most = self._limits.pack_bytes + _COMMAND_BYTES
        seen = 0
        for piece in exchange.body(most=_MOST_READ * most):
            seen += len(piece)
            if seen <= most:
                body.write(piece)
        return seen > most

    def _outcome(self, commands: Commands, body: IO[bytes] | None, say: Callable[[str], None]) -> str:
        """Handle a push; return "" if it was forwarded, else the reason in one line."""
        rule = push_rule(self._mirror.remote, commands.updates)
        try:
            held = self._checked(commands.updates, rule, body)
            request = self._decided(commands.updates, held, say)
            if request is not None and request.state == "pending":
                return f"held as request {request.id}; push the same commits again after a person has approved it"
            if request is not None and request.state != "approved":
                shutil.rmtree(held.folder, ignore_errors=True)
                return _why_not(request)
            self._forward(commands.updates, held, request)
            say(f"forwarded to {self._mirror.remote.url}")
        except PyroError as error:
            reason = visible_line(" ".join(error.message.split()), _SHOWN)
            self._record("refused", who="policy", rule=_rule_text(rule), what={**rule, "reason": reason})
            return reason
        return ""

    def _checked(self, updates: Sequence[Update], rule: Mapping[str, Any], body: IO[bytes] | None) -> Held:
        """Check a push; return it if it passes all checks, else raise `InvalidRequest`."""
        with self._lock:
            remote = self._mirror.remote
            require_allowed(remote, updates, self._mirror.repository.refs())
            folder = self._held / rule_key(rule)
            if (shown := HeldPush.load(folder)) is not None:
                return Held(folder, rule, shown)
            if body is None:
                raise InvalidRequest(f"the push is larger than {self._limits.pack_bytes >> 20} MiB: push less at once")
            self._make_room()
            private_directory(folder)
            with _removed_on_error(folder):
                quarantine = Quarantine(folder, self._mirror.repository, updates, self._limits)
                quarantine.receive(body)
                quarantine.check_objects()
                findings = check_content(quarantine, self._remotes)
                faults = findings.faults
                faults += [str(one) for one in find_secrets(quarantine, not_secret=remote.not_secret)]
                if faults:
                    more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
                    raise InvalidRequest(f"the push is refused: {'; '.join(faults[:_MOST_FAULTS])}{more}")
                shown = describe(quarantine, remote, findings.remarks)
                shown.save(folder)
            return Held(folder, rule, shown)

    def _decided(self, updates: Sequence[Update], held: Held, say: Callable[[str], None]) -> Request | None:
        """Return the request for the push after a person was waited for; None when the manifest allows the push."""
        if not asks(self._mirror.remote, updates) and not held.shown.remarks:
            return None
        request = self._approvals.ask("push", held.rule, reason=held.shown.brief()[:LONGEST_REASON])
        if request.state == "pending":
            what = {**held.rule, "request": request.id}
            self._record("held", who="policy", rule=_rule_text(held.rule), what=what)
            say(f"held as request {request.id}: waiting for a person on the host to approve or deny it")
            request = self._approvals.wait(request.number, self._wait_seconds)
        return request

    def _forward(self, updates: Sequence[Update], held: Held, request: Request | None) -> None:
        """Push to the upstream; raise `InvalidRequest` if it has changed since the check."""
        remote = self._mirror.remote
        with self._lock:
            self._mirror.refresh(now=True)
            refs = self._mirror.repository.refs()
            if all(refs.get(one.ref) == one.new for one in updates):  # the same push came over another connection
                return
            require_allowed(remote, updates, refs)
            if request is not None:
                self._approvals.spent(request.number)
            what = {**held.rule, "request": request.id if request else ""}
            who = request.decided_by if request else "policy"
            self._record("allowed", who=who, rule=_rule_text(held.rule), what=what)
            repository = Repository(held.folder / "quarantine.git", self._mirror.repository.folder)
            leases = [f"--force-with-lease={one.ref}:{'' if one.old.strip('0') == '' else one.old}" for one in updates]
            options = ["--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no", "--no-signed"]
            options += ["--atomic"] if len(updates) > 1 else []
            refspecs = [f"{one.new}:{one.ref}" for one in updates]
            argv = ["push", *options, *leases, *self._mirror.push_program(), "--", remote.address, *refspecs]
            try:
                self._mirror.upstream(argv, repository=repository)
            except UpstreamFailed as error:
                raise InvalidRequest(f"the upstream refused the push: {error.message}") from error
            shutil.rmtree(held.folder, ignore_errors=True)
            self._mirror.refresh(now=True)

    def _make_room(self) -> None:
        """Remove what a killed gate left and, if too many pushes are held, the oldest ones."""
        folders = sorted(self._held.iterdir(), key=lambda one: one.stat().st_mtime)
        for folder in [one for one in folders if HeldPush.load(one) is None]:
            shutil.rmtree(folder, ignore_errors=True)
        kept = [one for one in folders if one.exists()]
        for folder in kept[: len(kept) - MOST_HELD + 1]:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _report(commands: Commands, refused: str) -> bytes:
    """Return git's report about each ref of a push."""
    lines = [f"ng {one.ref} {refused}" if refused else f"ok {one.ref}" for one in commands.updates]
    return report(["unpack ok", *lines])


def _why_not(request: Request) -> str:
    """Return what was decided about a request that allows nothing."""
    by = f" by {request.decided_by}" if request.state in ("denied", "void") else ""
    return f"request {request.id} was not approved: it is {request.state}{by}"


def _rule_text(rule: Mapping[str, Any]) -> str:
    return " ".join(f"{rule['remote']} {one['ref']} {one['old'][:12]}..{one['new'][:12]}" for one in rule["updates"])
