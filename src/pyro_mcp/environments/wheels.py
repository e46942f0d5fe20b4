"""Programs out of Python wheels, from the package index that the host's pip uses; each is verified by its hash.

The index is asked by the simple repository API: https://packaging.python.org/en/latest/specifications/simple-repository-api/
"""

from __future__ import annotations

import base64
import hashlib
import re
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path

from pyro_mcp.environments.catalog import Wheel
from pyro_mcp.errors import EnvironmentFailed
from pyro_mcp.host.mirrors import pip_index, without_credentials

_DEADLINE_SECONDS = 60.0
_LARGEST_PAGE = 32 << 20
_LARGEST_WHEEL = 256 << 20
_LARGEST_PROGRAM = 512 << 20


class IndexUnavailable(Exception):
    """The index does not answer, or does not have the file."""


def install_programs(wheel: Wheel, folder: Path, work: Path) -> None:
    """Put the programs of a wheel into `folder`; nothing of it is run.

    Raises `IndexUnavailable`, and `EnvironmentFailed` for a file that is not the one that was pinned.
    """
    place = work / wheel.file
    _fetch(wheel, place)
    with zipfile.ZipFile(place) as archive:
        for member in archive.infolist():
            found = re.fullmatch(r"[^/]+\.data/scripts/([A-Za-z0-9_.-]+)", member.filename)
            if found and member.file_size <= _LARGEST_PROGRAM:
                target = folder / found[1]
                target.write_bytes(archive.read(member))
                target.chmod(0o755)
    place.unlink()


def _fetch(wheel: Wheel, place: Path) -> None:
    index = pip_index() or "https://pypi.org/simple"
    page = f"{index.rstrip('/')}/{wheel.project}/"
    try:
        address, text = _get(page, _LARGEST_PAGE)
        links = re.findall(rf'["\'](\S*?{re.escape(wheel.file)})(?:#[^"\']*)?["\']', text.decode(errors="replace"))
        if not links:
            raise IndexUnavailable(f"{without_credentials(page)} does not have {wheel.file}")
        _, content = _get(urllib.parse.urljoin(address, links[0]), _LARGEST_WHEEL)
    except (OSError, HTTPException, ValueError) as error:
        raise IndexUnavailable(f"{without_credentials(page)} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise EnvironmentFailed(
            f"{without_credentials(index)} sent another {wheel.file} than the one whose hash is known",
            hint="do not use that index before its owner explains the difference",
        )
    place.write_bytes(content)


def _get(address: str, most: int) -> tuple[str, bytes]:
    """Where an address led in the end, and what is there."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("https", "http", "file"):
        raise ValueError(f"{parts.scheme!r} is no address of an index")
    headers = {"Accept": "text/html, application/vnd.pypi.simple.v1+html"}
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    request = urllib.request.Request(without_credentials(address), headers=headers)  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=_DEADLINE_SECONDS) as answer:  # noqa: S310
        content = answer.read(most + 1)
        if len(content) > most:
            raise ValueError("it is too large")
        return str(answer.url), content
