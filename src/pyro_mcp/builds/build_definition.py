"""Read what to build: a Dockerfile with its build context, or a devcontainer.json translated into a Dockerfile.

The format of devcontainer.json is documented at https://containers.dev/implementors/json_reference/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyro_mcp.errors import InvalidRequest, NotFound
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.host import jsonc

_COMMANDS = ("onCreateCommand", "updateContentCommand", "postCreateCommand")
_UNSUPPORTED = {"dockerComposeFile": "set image, or build the Dockerfile of one service"}
_KNOWN = frozenset(
    {"name", "image", "build", "dockerFile", "context", "containerEnv", "remoteEnv", "$schema", *_COMMANDS}
)
_VARIABLE = re.compile(r"\$\{(\w+)(?::([^}:]*)(?::([^}]*))?)?\}")


@dataclass(frozen=True)
class BuildDefinition:
    """A Dockerfile with its build context and arguments.

    A devcontainer.json may also name a `project`: it is copied to /workspace, where `project_instructions` then run.
    `ignored` lists the settings without effect.
    """

    path: Path
    dockerfile: str
    context: Path
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    project: Path | None = None
    project_instructions: str = ""
    ignored: Sequence[str] = ()


def read_build_definition(path: Path, context: Path | None) -> BuildDefinition:
    """Read the Dockerfile or devcontainer.json at `path`, or the Dockerfile in the folder at `path`.

    Raises `NotFound`, and `InvalidRequest` for a file that cannot be read or uses an unsupported setting.
    """
    if path.is_dir():
        path /= "Dockerfile"
    text = _read(path)
    if path.suffix != ".json":
        return BuildDefinition(path, text, _folder(context or path.absolute().parent))
    try:
        found = jsonc.parse(text).value
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error.message}", hint=error.hint) from error
    if not isinstance(found, dict):
        raise InvalidRequest(f"{path} is not a JSON object", hint="a devcontainer.json begins with {")
    return _devcontainer(path, found)


def _devcontainer(path: Path, found: Mapping[str, Any]) -> BuildDefinition:
    for key, hint in _UNSUPPORTED.items():
        if key in found:
            raise InvalidRequest(f"{path}: {key} is not supported", hint=hint)
    build = found.get("build") if isinstance(found.get("build"), dict) else {}
    assert isinstance(build, dict)
    file = build.get("dockerfile", found.get("dockerFile"))
    folder = path.absolute().parent
    context = folder / _text(path, "context", build.get("context", found.get("context", ".")))
    if file is not None:
        dockerfile = _read(folder / _text(path, "build.dockerfile", file))
    elif "image" in found:
        dockerfile = f"FROM {_one_line(path, 'image', found['image'])}\n"
    else:
        raise InvalidRequest(f"{path} names neither an image nor build.dockerfile", hint="set one of them")
    project = folder.parent if folder.name == ".devcontainer" else folder
    environ = {**_strings(path, found, "containerEnv"), **_strings(path, found, "remoteEnv")}
    lines = [f"ENV {name}={json.dumps(_substituted(path, value))}" for name, value in environ.items()]
    commands = [line for key in _COMMANDS if (value := found.get(key)) for line in _commands(path, key, value)]
    return BuildDefinition(
        path,
        "\n".join([dockerfile.rstrip("\n"), *lines, ""]),
        _folder(context),
        _strings(path, build, "args"),
        _text(path, "build.target", build["target"]) if "target" in build else None,
        project if commands else None,
        "\n".join(commands),
        [f"{key} is not supported" for key in found if key not in _KNOWN],
    )


def _commands(path: Path, key: str, value: object) -> list[str]:
    """Return the RUN instructions for a command: a shell command, a list of arguments, or an object of commands."""
    if isinstance(value, dict):
        return [line for one in value.values() for line in _commands(path, key, one)]
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return [f"RUN {json.dumps(value)}"]
    return ["RUN " + json.dumps(["/bin/sh", "-c", _substituted(path, _text(path, key, value))])]


def _substituted(path: Path, value: str) -> str:
    """Replace the variables of devcontainer.json in `value` by their values in a machine."""

    def replacement(found: re.Match[str]) -> str:
        kind, name, default = found[1], found[2], found[3]
        if kind in ("containerWorkspaceFolder", "localWorkspaceFolder"):
            return "/workspace"
        if kind in ("containerWorkspaceFolderBasename", "localWorkspaceFolderBasename"):
            return "workspace"
        if kind == "containerEnv" and name:
            return "${" + name + (f":-{default}" if default else "") + "}"
        if kind == "localEnv":
            return default or ""  # a variable of the host never enters a machine by itself
        raise InvalidRequest(f"{path}: {found[0]} is not supported")

    return _VARIABLE.sub(replacement, value)


def _strings(path: Path, found: Mapping[str, Any], key: str) -> dict[str, str]:
    given = found.get(key, {})
    if not isinstance(given, dict) or not all(isinstance(one, str) for one in given.values()):
        raise InvalidRequest(f"{path}: {key} is not an object whose values are strings")
    for name in given:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise InvalidRequest(f"{path}: {key}: {name!r} is not the name of a variable")
    return dict(given)


def _text(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidRequest(f"{path}: {key} is not a non-empty string")
    return value


def _one_line(path: Path, key: str, value: object) -> str:
    text = _text(path, key, value)
    if not re.fullmatch(r"[!-~]+", text):
        raise InvalidRequest(f"{path}: {key} is not the name of an image: {text!r}")
    return text


def _folder(context: Path) -> Path:
    if not context.is_dir():
        raise NotFound(
            f"there is no build context {context}", hint=Hint("name another folder with {}", Argument("context"))
        )
    return context


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > 1 << 20:
            raise InvalidRequest(f"{path} is larger than 1 MiB")
        return path.read_text()
    except FileNotFoundError as error:
        raise NotFound(f"there is no {path}", hint="give the path of a Dockerfile or a devcontainer.json") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not UTF-8 text") from error
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{str(path)!r} cannot be read: {error}") from error
