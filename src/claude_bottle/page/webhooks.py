"""Webhooks: a short text about each new request, sent to the addresses in the user's own file.

    # ~/.config/claude-bottle/notify.toml, which only this user may read
    [[webhook]]
    url = "https://ntfy.example.org/a-topic-that-nobody-guesses"
    headers = { Authorization = "Bearer tk_..." }   # optional

The message is what ntfy (https://docs.ntfy.sh/publish/) takes: the text is the body, a title and buttons are headers.
Its links hold single-use tokens, so whoever reads the message and reaches the page can decide about that request.
"""

from __future__ import annotations

import http.client
import os
import ssl
import stat
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from claude_bottle.results import RequestInfo
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.visible import visible_line

_LARGEST_FILE = 64 * 1024
_MOST_HOOKS = 8
_ATTEMPT_SECONDS = 10.0
_PAUSES = (1.0, 4.0, 15.0)
_LONGEST_TEXT = 600


@dataclass(frozen=True)
class Webhook:
    """One address, and the headers that each message to it has."""

    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)


def notify_path() -> Path:
    """Return the path of the user's file of webhooks; it need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".config"
    return root / "claude-bottle" / "notify.toml"


def read_webhooks(path: Path) -> list[Webhook]:
    """Return the webhooks of a file; none if it does not exist. Raises `InvalidRequest`."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            content = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from error
    if found.st_uid not in (os.getuid(), 0) or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidRequest(f"others may read or change {path}", hint=f"chmod 600 {path}")
    try:
        given = tomllib.loads(content.decode())
    except ValueError as error:  # neither TOML nor UTF-8
        raise InvalidRequest(f"{path} is not correct TOML: {error}") from error
    hooks = given.pop("webhook", [])
    if given or not isinstance(hooks, list) or len(hooks) > _MOST_HOOKS or len(content) > _LARGEST_FILE:
        raise InvalidRequest(f"{path} may hold only [[webhook]] tables, at most {_MOST_HOOKS}")
    return [_webhook(path, number, one) for number, one in enumerate(hooks)]


def _webhook(path: Path, number: int, given: object) -> Webhook:
    where = f"{path}: webhook[{number}]"
    if not isinstance(given, dict) or set(given) - {"url", "headers"} or not isinstance(given.get("url"), str):
        raise InvalidRequest(f"{where} must have the key url, may have headers, and has no other key")
    parts, headers = urlsplit(given["url"]), given.get("headers", {})
    if parts.scheme not in ("https", "http") or not parts.hostname or not given["url"].isascii():
        raise InvalidRequest(f"{where}.url must be an https or http URL")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise InvalidRequest(f"{where}.url sends tokens over a network that others may read", hint="use https")
    pairs = headers.items() if isinstance(headers, dict) else [("", None)]
    if not all(isinstance(value, str) and _is_header(name) and _is_header(value) for name, value in pairs):
        raise InvalidRequest(f"{where}.headers must be texts of printable ASCII characters")
    return Webhook(given["url"], dict(headers))


def _is_header(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


def message(one: RequestInfo, links: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Return the text about a request and its headers; `links` are the URLs of the two questions, by their verbs."""
    lines = [f"{one['slug']} asks to {visible_line(one['allows'], _LONGEST_TEXT)}"]
    if one["reason"]:
        lines.append(f"its reason: {visible_line(one['reason'], _LONGEST_TEXT)}")
    lines += [f"{verb}: {url}" for verb, url in links.items()]
    buttons = "; ".join(f"view, {verb}, {url}" for verb, url in links.items())
    return "\n".join(lines), {"Title": f"claude-bottle: {one['kind']} {one['reference']}", "Actions": buttons}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirect, because it would send the links and headers to an address of others."""

    def redirect_request(self, *_: object) -> None:
        return None


class Sender:
    """The sender of messages: each goes to all webhooks, with retries until a deadline; `say` gets the failures."""

    def __init__(self, hooks: Sequence[Webhook], say: Callable[[str], None], stopped: threading.Event) -> None:
        self._hooks, self._say, self._stopped = hooks, say, stopped
        self._opener = urllib.request.build_opener(
            _NoRedirect(), urllib.request.HTTPSHandler(context=ssl.create_default_context())
        )

    def send(self, text: str, headers: dict[str, str], *, deadline: float) -> None:
        """Send one message; give up at `deadline`, in seconds since 1970. Report failures by `say`; raise nothing."""
        for hook in self._hooks:
            host = urlsplit(hook.url).netloc.rpartition("@")[2]
            for pause in (*_PAUSES, 0.0):
                left = deadline - time.time()
                if left <= 0 or self._stopped.is_set():
                    break
                problem, final = self._attempt(hook, text, headers, min(left, _ATTEMPT_SECONDS))
                if not problem:
                    break
                again = "" if final or not pause else f"; trying again in {pause:.0f} s"
                self._say(f"the message to {host} failed: {problem}{again}")
                if final or not pause or self._stopped.wait(max(0.0, min(pause, deadline - time.time()))):
                    break

    def _attempt(self, hook: Webhook, text: str, headers: dict[str, str], seconds: float) -> tuple[str, bool]:
        """Return why an attempt failed, else "", and whether further attempts are useless."""
        fields = {"Content-Type": "text/plain; charset=utf-8", **headers, **hook.headers}
        request = urllib.request.Request(hook.url, text.encode(), fields, method="POST")  # noqa: S310 - checked above
        try:
            with self._opener.open(request, timeout=seconds) as answer:
                answer.read(4096)
                return "", False
        except urllib.error.HTTPError as error:
            error.close()
            return f"HTTP status {error.code}", 300 <= error.code < 500 and error.code not in (408, 429)
        except (OSError, http.client.HTTPException) as error:
            return visible_line(str(getattr(error, "reason", error)), 200), False
