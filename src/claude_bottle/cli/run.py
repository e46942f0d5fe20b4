"""claude-bottle run AGENT, attach BOTTLE"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from claude_bottle import state
from claude_bottle.bottles import Bottles
from claude_bottle.cli.launch_options import bottle_argument, launch_options
from claude_bottle.cli.manifest_option import loaded, manifest_option
from claude_bottle.launch import Launch
from pyro_mcp.command_line import Verbs, print_json, progress_line, shown, verb
from pyro_mcp.errors import NotFound
from pyro_mcp.terminal import DETACH_KEY, own_terminal

OWN_FAILURE = 125
"""The exit code for a failure of ours, so that it is not taken for the agent's."""
_KILLED = 128 + signal.SIGKILL
_TERMINATED = 128 + signal.SIGTERM

_RUN = (
    "Launch an agent.\n\n"
    "In a terminal, the agent gets the terminal: colours, size and every key reach it. Without one, its output is "
    "printed until it ends; Ctrl-C and SIGTERM then remove the bottle, and when the reader goes away the agent keeps "
    "running. The exit code is the agent's own. The bottle stays until 'claude-bottle stop'."
)


def add(verbs: Verbs) -> None:
    run = verb(
        verbs, "run", "launch an agent", _run, example="claude-bottle run reviewer --copy-cwd -- -p 'fix the tests'"
    )
    run.description = _RUN
    launch_options(run)
    run.add_argument("-d", "--detach", action="store_true", help="print the bottle's name and leave the agent running")
    manifest_option(run)
    run.set_defaults(own_failure=OWN_FAILURE, command_optional=True)
    attach = verb(
        verbs,
        "attach",
        f"connect this terminal to a running agent; {DETACH_KEY} leaves the agent running",
        _attach,
        example="claude-bottle attach reviewer-3f9a1c",
    )
    bottle_argument(attach)
    attach.set_defaults(own_failure=OWN_FAILURE, command_optional=True)


def _run(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        bottles = Bottles(manifest=loaded(arguments), say=lambda message: line(message, None))
        with bottles.launching(
            arguments.agent,
            backend=arguments.backend,
            copy_cwd=arguments.copy_cwd,
            args=arguments.command or (),
        ) as launch:
            line.clear()
            if arguments.detach:
                return _leave(arguments, bottles, launch)
            if sys.stdin.isatty() and sys.stdout.isatty() and not arguments.json:
                ended = _take_terminal(bottles, launch.slug, launch.keep)
            else:
                ended = _print_output(arguments, bottles, launch)
        return _told(arguments, bottles, launch.slug, ended)


def _leave(arguments: argparse.Namespace, bottles: Bottles, launch: Launch) -> int:
    """Print the bottle's name, and only then keep the bottle."""
    if arguments.json:
        print_json(bottles.status(launch.slug))
    else:
        print(launch.slug)
    sys.stdout.flush()
    launch.keep()
    return 0


def _attach(arguments: argparse.Namespace) -> int:
    bottles = Bottles()
    slug = bottles.status(arguments.bottle)["slug"]
    ended = _take_terminal(bottles, slug, lambda: None)
    return _told(arguments, bottles, slug, ended)


def _take_terminal(bottles: Bottles, slug: str, taken: Callable[[], None]) -> int | None:
    """Connect our terminal to the agent; return its exit code, None when it was left running."""
    notice = f"{DETACH_KEY} leaves {slug} running"
    instead = f"without one, 'claude-bottle logs {slug}' shows the agent's output"
    with own_terminal(lambda *size: bottles.resize(slug, *size), notice=notice, instead=instead) as own:
        taken()
        return bottles.attach(slug, own.keys, own.show, interrupt=own.left)


def _print_output(arguments: argparse.Namespace, bottles: Bottles, launch: Launch) -> int | None:
    """Print what the agent writes until it ends; it is typed nothing.

    Ctrl-C and SIGTERM end the agent and remove its bottle. It goes on when we lose our terminal, our reader or the room
    for the output: the work in it is worth more than what we print.
    """

    def show(data: bytes) -> None:
        while data and not arguments.json:  # past the buffer: what cannot be written must not be tried again at exit
            data = data[os.write(sys.stdout.fileno(), data) :]

    if not arguments.json:
        print(
            "not a terminal: showing the output until the agent ends; -d leaves it in the background", file=sys.stderr
        )
    silent, typist = os.pipe()
    try:
        with open(silent, "rb") as keys:
            launch.keep()
            return bottles.attach(launch.slug, keys, show)
    except BaseException as ending:
        if isinstance(ending, KeyboardInterrupt) or (isinstance(ending, SystemExit) and ending.code == _TERMINATED):
            if remark := launch.remove():
                print(f"claude-bottle: {shown(remark)}", file=sys.stderr)
        elif launch.kept:
            with suppress(OSError):  # the terminal that we had
                print(_keeps_running(launch.slug), file=sys.stderr)
        raise
    finally:
        os.close(typist)


def _keeps_running(slug: str) -> str:
    return f"{slug} keeps running; 'claude-bottle attach {slug}' takes it up again"


def _told(arguments: argparse.Namespace, bottles: Bottles, slug: str, ended: int | None) -> int:
    """Say what became of the agent, on standard error or as JSON; return our exit code."""
    if state.is_stopped(slug):
        if arguments.json:
            raise NotFound(f"{slug} was stopped", hint="'claude-bottle list' shows the bottles")
        print(f"{slug} was stopped, and is removed", file=sys.stderr)
        return _KILLED if ended is None else ended
    if arguments.json:
        print_json(bottles.status(slug))
        return ended or 0
    if ended is None:
        print(_keeps_running(slug), file=sys.stderr)
        return 0
    print(
        f"{slug} ended with exit code {ended}\n"
        f"  'claude-bottle diff {slug}' shows what it changed, 'claude-bottle stop {slug}' removes it",
        file=sys.stderr,
    )
    return ended
