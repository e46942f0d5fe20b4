"""The tmux server of one project: sessions of agents, their panes, and text that is typed into them.

Each project has a server of its own, on a socket that is named by its folder, and no configuration file is read: a
plugin of the user could restore sessions or start programs there. Every target is exact (`=name`); tmux takes another
target as the beginning of a name.

Text from a message can press no key. Control characters are replaced by their pictures and a line break by a sign,
because tmux does not tell whether the program in the pane takes pasted text as such: where it does not, a line break
is the Enter key. The text reaches tmux on standard input, in a buffer that it deletes after use.

No client in control mode is used, although it would report output as it comes: the server of tmux 3.3a, with all its
sessions, is killed by SIGSEGV when one leaves while another client is served.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import subprocess
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moot.agents.place import Commands, HostCommands, run_there
from moot.agents.screen import Screen
from moot.known_words import colour_name
from pyro_mcp.errors import HostCommandFailed, InvalidRequest, NotFound
from pyro_mcp.host.process import Completed, child_environment

AGENT_WINDOW, NOTIFY_WINDOW = 0, 1
"""The windows of a session: the agent's terminal, and the program that pushes messages into it."""
LINE_BREAK = " ⏎ "
"""What a line break in a message becomes when it is typed."""

_DEADLINE = 20.0
_JOINERS = "\u200c\u200d"  # they join letters and emoji
_COLUMNS, _ROWS = 200, 50
# A server keeps dead panes, so that their exit status and last output can be shown.
_OPTIONS = (
    ("-g", "remain-on-exit", "on"),
    ("-g", "history-limit", "20000"),
    ("-g", "mouse", "on"),
    ("-g", "default-terminal", "tmux-256color"),
    ("-g", "automatic-rename", "off"),
    ("-g", "allow-rename", "off"),
    ("-g", "update-environment", ""),
    ("-s", "escape-time", "10"),
    ("-s", "set-clipboard", "off"),
)
_FIELDS = (
    *("session_name", "window_index", "pane_pid"),
    *("pane_dead", "pane_dead_status", "pane_dead_signal", "pane_in_mode"),
)
_NO_SERVER = re.compile(
    r"no server running on |error connecting to .* \((No such file or directory|Connection refused)\)"
    r"|no sessions|no current target|server exited|lost server"
)
_NOT_THERE = re.compile(r"can't find (session|window|pane)")


@dataclass(frozen=True)
class Pane:
    """One terminal: its first process, and how that ended (`exit_status` is -n after signal n) if it has."""

    session: str
    window: int
    pid: int
    dead: bool
    exit_status: int | None
    in_mode: bool
    """Whether its user looks at earlier output; keys then reach tmux instead of the program."""


def session_name(role: str) -> str:
    """Return the name of a role's session."""
    return f"moot-{role}"


def socket_name(project: str) -> str:
    """Return the name of the socket of a project, by the folder of its moot.toml as the agents see it."""
    return f"moot-{hashlib.sha256(project.encode()).hexdigest()[:12]}"


def typed(text: str) -> str:
    """Return `text` as one line without any character that a terminal or a program takes for a key."""
    lines = "\n".join(text.replace("\t", " ").splitlines())
    return "".join(_visible(character) for character in lines).replace("\n", LINE_BREAK)


def _visible(character: str) -> str:
    if character == "\n":
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # "control pictures"
    if code == 0x7F:
        return "\u2421"
    if character in _JOINERS:
        return character
    # Other controls, directions and invisible characters, half characters: what a person sees must be what is there.
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") else character


class Tmux:
    """The tmux server of one project, in the place where `commands` run."""

    def __init__(self, project: str, commands: Commands | None = None) -> None:
        self._commands = commands or HostCommands()
        self._words = ["tmux", "-u", "-L", socket_name(project), "-f", "/dev/null"]

    def start(
        self, session: str, argv: Sequence[str], *, folder: str, window: int = AGENT_WINDOW, colour: str | None = None
    ) -> None:
        """Start a program in a window of a session; the agent's window makes the session.

        Raises `HostCommandFailed`, also when there is such a window. A session whose colour tmux refuses is not left.
        """
        if colour is not None:
            _require_colour(colour)
        place = ["-c", _literal(folder), "--", *argv]
        if window != AGENT_WINDOW:
            self._run(["new-window", "-d", "-n", "notify", "-t", f"={session}:{window}", *place])
            return
        options = [word for option in _OPTIONS for word in ("set-option", *option, ";")]
        size = ["-x", str(_COLUMNS), "-y", str(_ROWS)]
        self._run(["start-server", ";", *options, "new-session", "-d", "-s", session, "-n", "agent", *size, *place])
        if colour is not None:
            self._border(session, colour)

    def _border(self, session: str, colour: str) -> None:
        target = f"={session}:{AGENT_WINDOW}"
        try:
            self._run(
                [
                    *("set-option", "-w", "-t", target, "pane-border-format", f" {_literal(session)} ", ";"),
                    *("set-option", "-w", "-t", target, "pane-border-status", "top", ";"),
                    *("set-option", "-w", "-t", target, "pane-border-style", f"fg={colour}", ";"),
                    *("set-option", "-w", "-t", target, "pane-active-border-style", f"fg={colour}"),
                ]
            )
        except HostCommandFailed as error:
            self.kill(session)
            raise InvalidRequest(f"tmux does not know the colour {colour!r}", hint="see 'colour' in tmux(1)") from error

    def panes(self) -> list[Pane]:
        """Return the panes of all sessions; [] without a server."""
        found = self._ask(["list-panes", "-a", "-F", ":".join(f"#{{{name}}}" for name in _FIELDS)])
        lines = [line.split(":") for line in found.stdout.decode(errors="replace").splitlines()]
        return [_pane(fields) for fields in lines if len(fields) == len(_FIELDS)]

    def pane(self, session: str, window: int = AGENT_WINDOW) -> Pane | None:
        """Return the pane of a window; None when there is none."""
        return next((one for one in self.panes() if (one.session, one.window) == (session, window)), None)

    def screen(self, session: str, window: int = AGENT_WINDOW) -> str:
        """Return the text on a pane's screen, wrapped lines joined. Raises `NotFound` without such a pane."""
        # Below the output of a dead pane tmux writes that it is dead, and moves the output up by one line for it.
        first = ["-S", "-1"] if self._require(session, window).dead else []
        words = ["capture-pane", "-p", "-J", *first, "-t", _target(session, window)]
        return self._run(words).stdout.decode(errors="replace")

    def look(self, session: str) -> Screen:
        """Return what the agent's terminal shows, and its cursor. Raises `NotFound` without such a pane."""
        self._require(session, AGENT_WINDOW)
        target = _target(session, AGENT_WINDOW)
        cursor = "#{cursor_y} #{cursor_x} #{cursor_flag}"
        found = self._run(["display-message", "-p", "-t", target, cursor, ";", "capture-pane", "-p", "-t", target])
        first, *rows = found.stdout.decode(errors="replace").splitlines()
        row, column, shown = first.split()
        return Screen(tuple(one.rstrip() for one in rows), int(row), int(column), shown == "1")

    def type_line(self, session: str, text: str) -> None:
        """Type `text` into the agent's terminal as one pasted line, without Enter; see `typed`."""
        self._paste(session, typed(text).encode(), "-p")

    def press_enter(self, session: str) -> None:
        """Press Enter in the agent's terminal; it reaches the program also while the user looks at earlier output."""
        self._paste(session, b"\r")

    def press(self, session: str, key: str) -> None:
        """Press a key by its tmux name, such as `Enter` or `Down`; never for text of others."""
        self._require(session, AGENT_WINDOW)
        self._run(["send-keys", "-t", _target(session, AGENT_WINDOW), key])

    def kill(self, session: str) -> bool:
        """End a session; return whether there was one."""
        return self._ask(["kill-session", "-t", f"={session}"]).exit_code == 0

    def attach(self, session: str) -> int:
        """Show the session in our terminal until the user detaches or it ends; return the exit code of tmux."""
        self._require(session, AGENT_WINDOW)
        if not sys.stdin.isatty():
            raise InvalidRequest("attach needs a terminal", hint="run it in a terminal, not in a pipe")
        argv = self._commands.argv([*self._words, "attach-session", "-t", f"={session}"], terminal=True)
        environment = {**child_environment(self._commands.environment), **_terminal_variables()}
        return subprocess.run(argv, env=environment, check=False).returncode

    def detach(self, session: str) -> int:
        """Detach every terminal that shows the session; return how many there were."""
        listed = self._ask(["list-clients", "-t", f"={session}", "-F", "#{client_control_mode}"])
        count = listed.stdout.decode().split().count("0") if listed.exit_code == 0 else 0
        if count:
            self._ask(["detach-client", "-s", f"={session}"])
        return count

    def ask(self, *words: str) -> str:
        """Return what a command of tmux prints."""
        return self._run(words).stdout.decode(errors="replace")

    def version(self) -> str:
        """Return what `tmux -V` prints. Raises `HostToolMissing`."""
        return run_there(self._commands, ["tmux", "-V"], deadline_seconds=_DEADLINE).stdout.decode().strip()

    def _paste(self, session: str, content: bytes, *options: str) -> None:
        self._require(session, AGENT_WINDOW)
        buffer = f"moot-{secrets.token_hex(8)}"
        paste = ["paste-buffer", "-d", *options, "-b", buffer, "-t", _target(session, AGENT_WINDOW)]
        try:
            self._run(["load-buffer", "-b", buffer, "-", ";", *paste], stdin=content)
        except HostCommandFailed:
            self._ask(["delete-buffer", "-b", buffer])  # the session ended in between
            raise

    def _require(self, session: str, window: int) -> Pane:
        found = self.pane(session, window)
        if found is None:
            raise NotFound(f"there is no tmux session {session}", hint="'moot up' starts the agents that do not run")
        return found

    def _run(self, words: Sequence[str], *, stdin: bytes | None = None, check: bool = True) -> Completed:
        argv = [*self._words, *(word if word == ";" else _argument(word) for word in words)]
        return run_there(self._commands, argv, stdin=stdin, deadline_seconds=_DEADLINE, check=check)

    def _ask(self, words: Sequence[str]) -> Completed:
        """Run a command for which a missing server or session is an answer; raise for any other failure."""
        found = self._run(words, check=False)
        said = found.stderr.decode(errors="replace")
        if found.exit_code != 0 and not (_NO_SERVER.search(said) or _NOT_THERE.search(said)):
            raise HostCommandFailed(f"tmux {words[0]} failed: {said.strip() or 'it printed nothing'}")
        return found


def _require_colour(colour: str) -> None:
    """Raise `InvalidRequest` for what is more than a colour: a style can have a command that tmux runs."""
    try:
        colour_name(colour)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _target(session: str, window: int) -> str:
    return f"={session}:{window}.0"


def _argument(word: str) -> str:
    """Escape a last `;`, with which tmux ends a command."""
    return f"{word[:-1]}\\;" if word.endswith(";") else word


def _literal(text: str) -> str:
    """Escape what tmux would replace in a format: `#(command)` runs a command."""
    return text.replace("#", "##")


def _pane(fields: list[str]) -> Pane:
    session, window, pid, dead, status, signal, in_mode = fields
    exit_status = -int(signal) if signal.isdigit() and int(signal) else int(status) if status.isdigit() else None
    return Pane(session, int(window), int(pid), dead == "1", exit_status, in_mode == "1")


def _terminal_variables() -> Mapping[str, str]:
    return {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
