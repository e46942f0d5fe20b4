"""Install programs from Python wheels, which come from the index that the host's pip uses and are verified by hash.

The protocol is the simple repository API: https://packaging.python.org/en/latest/specifications/simple-repository-api/
"""

from __future__ import annotations

import hashlib
import re
import urllib.parse
import zipfile
from http.client import HTTPException
from pathlib import Path

from pyro_mcp.environments.catalog import Wheel
from pyro_mcp.environments.download import opened
from pyro_mcp.errors import EnvironmentFailed
from pyro_mcp.host.mirrors import pip_index, without_credentials

_MAX_PAGE = 32 << 20
_MAX_WHEEL = 256 << 20
_MAX_PROGRAM = 512 << 20


class IndexUnavailable(Exception):
    """The package index does not answer, or does not have the file."""


def install_programs(wheel: Wheel, folder: Path, work: Path) -> None:
    """Put the programs of a wheel into `folder`, without running any of them.

    Raises `IndexUnavailable`, and `EnvironmentFailed` for a file whose hash is not the wheel's.
    """
    path = work / wheel.file
    _fetch(wheel, path)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            found = re.fullmatch(r"[^/]+\.data/scripts/([A-Za-z0-9_.-]+)", member.filename)
            if found and member.file_size <= _MAX_PROGRAM:
                target = folder / found[1]
                target.write_bytes(archive.read(member))
                target.chmod(0o755)
    path.unlink()


def _fetch(wheel: Wheel, path: Path) -> None:
    index = pip_index() or "https://pypi.org/simple"
    page = f"{index.rstrip('/')}/{wheel.project}/"
    try:
        final_url, text = _get(page, _MAX_PAGE)
        links = re.findall(rf'["\'](\S*?{re.escape(wheel.file)})(?:#[^"\']*)?["\']', text.decode(errors="replace"))
        if not links:
            raise IndexUnavailable(f"{without_credentials(page)} does not have {wheel.file}")
        _, content = _get(urllib.parse.urljoin(final_url, links[0]), _MAX_WHEEL)
    except (OSError, HTTPException, ValueError) as error:
        raise IndexUnavailable(f"{without_credentials(page)} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise EnvironmentFailed(
            f"{without_credentials(index)} sent a {wheel.file} whose hash is not the expected one",
            hint="ask the owner of that index before you use it",
        )
    path.write_bytes(content)


def _get(url: str, max_bytes: int) -> tuple[str, bytes]:
    """Return the final URL after redirects, and the content there; raises `ValueError` for more than `max_bytes`."""
    with opened(url, {"Accept": "text/html, application/vnd.pypi.simple.v1+html"}) as answer:
        content = answer.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise ValueError("the answer is too large")
        return str(answer.url), content
