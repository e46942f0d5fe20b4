"""Hints: advice whose verbs and arguments are values, so that each surface renders them in its own words.

    Hint("{} starts it again", Verb("workspace reset", workspace_id="ws-1"))

    command line   'pyro workspace reset ws-1' starts it again
    SDK            reset_workspace('ws-1') starts it again
    MCP            workspace_reset(workspace_id="ws-1") starts it again

Advice without a verb or an argument of ours is a plain `str`.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

VERBS: Mapping[str, tuple[str, str]] = {
    "doctor": ("doctor", ""),
    "env list": ("list_environments", "vm_list_environments"),
    "env prune": ("prune_environments", ""),
    "env pull": ("pull_environment", ""),
    "env save": ("save_environment", "env_save"),
    "host connect": ("connect_host", ""),
    "host print-config": ("host_config", ""),
    "host repair": ("repair_host", ""),
    "prepare": ("prepare", ""),
    "run": ("run_in_vm", "vm_run"),
    "workspace adopt": ("adopt_workspace", "workspace_adopt"),
    "workspace create": ("create_workspace", "workspace_create"),
    "workspace delete": ("delete_workspace", "workspace_delete"),
    "workspace disk list": ("list_workspace_disk", "workspace_disk_list"),
    "workspace export": ("export_workspace", "workspace_export"),
    "workspace file list": ("list_workspace_files", "workspace_file_list"),
    "workspace list": ("list_workspaces", "workspace_list"),
    "workspace network info": ("network_info_workspace", "workspace_network_info"),
    "workspace reap-expired": ("reap_expired", "vm_reap_expired"),
    "workspace reset": ("reset_workspace", "workspace_reset"),
    "workspace service logs": ("logs_service", "service_logs"),
    "workspace stop": ("stop_workspace", "workspace_stop"),
    "workspace sync push": ("push_workspace_sync", "workspace_sync_push"),
    "workspace update": ("update_workspace", "workspace_update"),
}
"""The verbs that hints name: of each command, the SDK's method and the MCP tool ("" for none)."""
# Arguments that the command line takes by place, and those whose option has another name.
_BY_PLACE = ("workspace_id", "service_name", "environment", "host")
_OPTIONS = {
    "allow_hosts": "allow-host",
    "binary": "base64",
    "build_args": "build-arg",
    "published_ports": "publish",
    "secrets": "secret",
}


@dataclass(frozen=True)
class Argument:
    """An argument of the call that failed, by the SDK's name; without a value, its name alone."""

    name: str
    value: object = None


class Verb:
    """A verb of ours by its command (a key of `VERBS`), with the arguments that matter, by the SDK's names."""

    def __init__(self, command: str, **arguments: object) -> None:
        self.command = command
        self.method, self.tool = VERBS[command]
        self.arguments = [Argument(name, value) for name, value in arguments.items()]


class NotOffered(Exception):
    """A surface does not offer an argument; `instead` is what the reader can do, "" for nothing."""

    def __init__(self, instead: str = "") -> None:
        super().__init__(instead)
        self.instead = instead


class Words(Protocol):
    """The words of one surface."""

    def verb(self, verb: Verb) -> str: ...

    def argument(self, argument: Argument) -> str:
        """Return the argument as a caller writes it; raise `NotOffered` to replace the clause that advises it."""


class CommandWords:
    """The words of the command line."""

    def verb(self, verb: Verb) -> str:
        by_place = [shlex.quote(str(one.value)) for one in verb.arguments if one.name in _BY_PLACE]
        options = [self.argument(one) for one in verb.arguments if one.name not in _BY_PLACE]
        return f"'{' '.join(['pyro', verb.command, *by_place, *options])}'"

    def argument(self, argument: Argument) -> str:
        option = option_name(argument.name)
        if argument.value is None or argument.value is True:
            return option
        values = argument.value if isinstance(argument.value, list) else [argument.value]
        return " ".join(f"{option} {shlex.quote(str(one))}" for one in values)


def option_name(argument: str) -> str:
    """Return the command line's option for an argument of the SDK."""
    return f"--{_OPTIONS.get(argument, argument).replace('_', '-')}"


class MethodWords:
    """The words of the SDK."""

    def verb(self, verb: Verb) -> str:
        by_place = [repr(one.value) for one in verb.arguments if one.name in _BY_PLACE]
        named = [self.argument(one) for one in verb.arguments if one.name not in _BY_PLACE]
        return f"{verb.method}({', '.join([*by_place, *named])})"

    def argument(self, argument: Argument) -> str:
        return argument.name if argument.value is None else f"{argument.name}={argument.value!r}"


class _Clause(NamedTuple):
    separator: str
    """Stands before the clause, unless it is the first one that is rendered."""
    template: str
    slots: tuple[Verb | Argument | str, ...]


class Hint(str):
    """Advice for the reader of an error or a result; as a `str` it has the SDK's words."""

    _clauses: tuple[_Clause, ...]

    def __new__(cls, template: str, *slots: Verb | Argument | str) -> Hint:
        """Return the hint with each {} of `template` filled by a verb, an argument or a text."""
        return _hint((_Clause("", template, slots),))

    def __reduce__(self) -> tuple[Any, ...]:
        return _hint, (self._clauses,)

    @staticmethod
    def joined(*hints: str, separator: str = "; ") -> Hint:
        """Return several hints as one, without those that are empty."""
        clauses: list[_Clause] = []
        for hint in filter(None, hints):
            first, *others = hint._clauses if isinstance(hint, Hint) else (_Clause("", "{}", (hint,)),)
            clauses += [first._replace(separator=separator if clauses else ""), *others]
        return _hint(tuple(clauses))

    def render(self, words: Words) -> str:
        """Return the hint in the words of a surface."""
        return _rendered(self._clauses, words)


def near_match(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `did you mean …?` for the known word that is most like `word`; "" when none is as alike as `cutoff`."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else ""


def render_hints(value: Any, words: Words) -> Any:
    """Return a hint, or a JSON value with every hint in it, in the words of a surface."""
    if isinstance(value, Hint):
        return value.render(words)
    if isinstance(value, Mapping):
        return {key: render_hints(one, words) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [render_hints(one, words) for one in value]
    return value


def _hint(clauses: tuple[_Clause, ...]) -> Hint:
    hint = str.__new__(Hint, _rendered(clauses, MethodWords()))
    hint._clauses = clauses
    return hint


def _rendered(clauses: tuple[_Clause, ...], words: Words) -> str:
    text = ""
    for clause in clauses:
        try:
            added = clause.template.format(*(_slot(one, words) for one in clause.slots))
        except NotOffered as error:
            added = error.instead
        text += f"{clause.separator if text and added else ''}{added}"
    return text


def _slot(slot: Verb | Argument | str, words: Words) -> str:
    if isinstance(slot, Verb):
        return words.verb(slot)
    return words.argument(slot) if isinstance(slot, Argument) else slot
