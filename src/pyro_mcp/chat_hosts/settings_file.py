"""The settings of a host, where they are a file that we change ourselves."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.host.files import no_space


def project_folders() -> list[Path]:
    """Return the working directory and those above it, up to the root of the git checkout; without one, only itself."""
    here = Path.cwd()
    upwards = [here, *here.parents]
    root = next((at for at, folder in enumerate(upwards) if (folder / ".git").exists()), 0)
    return upwards[: root + 1]


def text_of(path: Path) -> str | None:
    """Return the text of a file with its line ends; None if there is no file. Raises `InvalidRequest`."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"cannot read {path}: {error}", hint="correct the file first") from error


def replace_text(path: Path, text: str) -> None:
    """Have `path` hold `text` at once, with the mode and owner that it had; a link stays one. Raises `NoSpace`."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    was = path.stat() if path.exists() else None
    mode = stat.S_IMODE(was.st_mode) if was else 0o600
    scratch = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            if was:
                os.fchown(file.fileno(), was.st_uid, was.st_gid)
            os.fchmod(file.fileno(), mode)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        raise no_space(error, path) from error
    finally:
        scratch.unlink(missing_ok=True)


def keep_copy(path: Path) -> None:
    """Keep a copy of what is in `path` beside it, for `undo`."""
    text = text_of(path)
    if text is not None:
        replace_text(_copy(path), text)


def undo(path: Path, redo: Callable[[str | None], str], otherwise: str) -> None:
    """Have `path` byte for byte as it was when its copy was kept, and the copy gone.

    Where something else has changed since, so that `redo` of the copy is not what is there now, it gets `otherwise`.
    """
    copy = _copy(path)
    before = text_of(copy)
    if redo(before) != text_of(path):
        replace_text(path, otherwise)
    elif before is None:
        path.resolve().unlink()
    else:
        replace_text(path, before)
    copy.unlink(missing_ok=True)


def _copy(path: Path) -> Path:
    real = path.resolve()
    return real.with_name(f"{real.name}.before-pyro")
