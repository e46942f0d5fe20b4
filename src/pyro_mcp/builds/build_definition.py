"""What an environment is built from: a Dockerfile, or what a devcontainer.json comes to as one.

The format of the latter is that of https://containers.dev/implementors/json_reference/.
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
_REFUSED = {"dockerComposeFile": "name its image, or build from the Dockerfile of one service"}
_KNOWN = frozenset(
    {"name", "image", "build", "dockerFile", "context", "containerEnv", "remoteEnv", "$schema", *_COMMANDS}
)
_VARIABLE = re.compile(r"\$\{(\w+)(?::([^}:]*)(?::([^}]*))?)?\}")


@dataclass(frozen=True)
class BuildDefinition:
    """A Dockerfile with its context. With a `project`, the instructions `afterwards` run in it, in /workspace."""

    path: Path
    dockerfile: str
    context: Path
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    project: Path | None = None
    afterwards: str = ""
    ignored: Sequence[str] = ()


def read_build_definition(path: Path, context: Path | None) -> BuildDefinition:
    """What the file at `path` (or the Dockerfile in the folder there) says.

    Raises `NotFound`, and `InvalidRequest` for what cannot be read or is not supported.
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
        raise InvalidRequest(f"{path} holds no object", hint="a devcontainer.json begins with {")
    return _devcontainer(path, found)


def _devcontainer(path: Path, found: Mapping[str, Any]) -> BuildDefinition:
    for key, hint in _REFUSED.items():
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
        raise InvalidRequest(f"{path} names neither an image nor build.dockerfile", hint="give one of them")
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
    """RUN instructions for a command: a line for the shell, a list of words, or several by name."""
    if isinstance(value, dict):
        return [line for one in value.values() for line in _commands(path, key, one)]
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return [f"RUN {json.dumps(value)}"]
    return ["RUN " + json.dumps(["/bin/sh", "-c", _substituted(path, _text(path, key, value))])]


def _substituted(path: Path, value: str) -> str:
    """A value with the variables of devcontainer.json replaced by what they are in a machine."""

    def replaced(found: re.Match[str]) -> str:
        kind, name, default = found[1], found[2], found[3]
        if kind in ("containerWorkspaceFolder", "localWorkspaceFolder"):
            return "/workspace"
        if kind in ("containerWorkspaceFolderBasename", "localWorkspaceFolderBasename"):
            return "workspace"
        if kind == "containerEnv" and name:
            return "${" + name + (f":-{default}" if default else "") + "}"
        if kind == "localEnv":
            return default or ""  # nothing of the host's environment goes into a machine unasked
        raise InvalidRequest(f"{path}: {found[0]} is not supported")

    return _VARIABLE.sub(replaced, value)


def _strings(path: Path, found: Mapping[str, Any], key: str) -> dict[str, str]:
    given = found.get(key, {})
    if not isinstance(given, dict) or not all(isinstance(one, str) for one in given.values()):
        raise InvalidRequest(f"{path}: {key} is not an object of texts")
    for name in given:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise InvalidRequest(f"{path}: {key}: {name!r} cannot name a variable")
    return dict(given)


def _text(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidRequest(f"{path}: {key} is not a text")
    return value


def _one_line(path: Path, key: str, value: object) -> str:
    text = _text(path, key, value)
    if not re.fullmatch(r"[!-~]+", text):
        raise InvalidRequest(f"{path}: {key} is not the name of an image: {text!r}")
    return text


def _folder(context: Path) -> Path:
    if not context.is_dir():
        raise NotFound(
            f"there is no folder {context} to take files from", hint=Hint("name another with {}", Argument("context"))
        )
    return context


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > 1 << 20:
            raise InvalidRequest(f"{path} is larger than 1 MiB")
        return path.read_text()
    except FileNotFoundError as error:
        raise NotFound(f"there is no {path}", hint="give a Dockerfile or a devcontainer.json") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not text in UTF-8") from error
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{str(path)!r} cannot be read: {error}") from error
