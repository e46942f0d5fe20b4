"""Download from package indexes, with the user name and password that a URL may hold."""

from __future__ import annotations

import base64
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPResponse

from pyro_mcp.host.mirrors import without_credentials

_DEADLINE_SECONDS = 60.0


@contextmanager
def opened(url: str, headers: Mapping[str, str], *, authorization: str = "") -> Iterator[HTTPResponse]:
    """Yield the response to a GET of `url`; raises `OSError`, `HTTPException`, and `ValueError` for another scheme.

    `authorization`, or the user name and password in `url`, is sent to that server only, not where it redirects to.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("https", "http", "file"):
        raise ValueError(f"{parts.scheme!r} is not a scheme of a package index")
    request = urllib.request.Request(without_credentials(url), headers=dict(headers))  # noqa: S310 - checked above
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    if authorization:
        request.add_unredirected_header("Authorization", authorization)
    try:
        answer = urllib.request.urlopen(request, timeout=_DEADLINE_SECONDS)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        raise
    with answer:
        yield answer
