"""The login of a person: a personal access token for each profile, in `~/.moot/credentials`.

The file has mode 0600 in a folder of mode 0700. A token is sent to the server that it was stored for, and to no other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moot.client.errors import NotAuthenticated, Unreachable
from moot.client.server_address import DEFAULT_API_URL, ServerAddress
from moot.client.space_client import SpaceClient
from moot.toml_tables import TableReader, a_line, dotted, http_url, quoted, read_toml
from pyro_mcp.errors import HostNotReady, InvalidRequest
from pyro_mcp.host.files import locked, private_directory, write_durable

PAT_PREFIX = "mootup_pat_"
DEFAULT_PROFILE = "default"
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_LOGIN_SECONDS = 10.0
_LOCK_SECONDS = 10.0
_KEYS = {"api_url": http_url, "token": a_line, "user_id": a_line}


class NotLoggedIn(HostNotReady):
    code = "not_logged_in"


@dataclass(frozen=True)
class Credential:
    """A token of a person on one server."""

    api_url: str
    token: str
    user_id: str
    profile: str = DEFAULT_PROFILE


@dataclass(frozen=True)
class LoggedIn:
    """The answer of a server to a token."""

    actor_id: str
    display_name: str
    api_url: str
    profile: str


def credentials_file() -> Path:
    """Return where the tokens are."""
    return Path.home() / ".moot" / "credentials"


def token_advice(api_url: str) -> str:
    """Return where a person gets a token for a server."""
    if ServerAddress(api_url).is_loopback:
        return "'moot serve' prints a token at its first start; 'moot server token create' makes another one"
    return f"'moot server token create' on the server's host makes one, or {api_url}/settings/api-keys"


def login(token: str, api_url: str = DEFAULT_API_URL, profile: str = DEFAULT_PROFILE) -> LoggedIn:
    """Store a token for a server once the server has accepted it. Raises `PyroError`; then nothing is stored."""
    if not _PROFILE.fullmatch(profile):
        raise InvalidRequest(
            f"{profile[:80]!r} is not the name of a profile", hint="use letters, digits, '.', '_' and '-'"
        )
    api_url = checked_url(api_url)
    token = token.strip()
    if not token.startswith(PAT_PREFIX) or len(token) == len(PAT_PREFIX):
        raise InvalidRequest(
            "That doesn't look like a Moot personal access token.",
            hint=f"It begins with {PAT_PREFIX}; the key of an agent (convo_key_...) does not log in a person.\n"
            + token_advice(api_url),
        )
    with SpaceClient(api_url, token, timeout_seconds=_LOGIN_SECONDS) as space:
        try:
            me = space.me()
        except NotAuthenticated as error:
            message = f"authentication failed (401): {api_url} does not know this token"
            raise NotAuthenticated(message, hint=token_advice(api_url)) from error
        except Unreachable as error:
            error.hint = "start it with `moot serve`, or name another with --api-url"
            raise
    store_credential(token, api_url, me.actor_id, profile)
    return LoggedIn(me.actor_id, me.display_name, api_url, profile)


def checked_url(api_url: str) -> str:
    """Return the URL of a server as it is stored. Raises `InvalidRequest`."""
    try:
        return str(http_url(api_url))
    except ValueError as error:
        raise InvalidRequest(f"--api-url: {error}", hint=f"for example --api-url {DEFAULT_API_URL}") from None


def store_credential(token: str, api_url: str, user_id: str, profile: str = DEFAULT_PROFILE) -> None:
    """Write the token of a profile; the other profiles stay."""
    path = credentials_file()
    if path.parent.is_dir() and not path.parent.is_symlink():
        path.parent.chmod(0o700)
    private_directory(path.parent)
    with locked(path.with_name("credentials.lock"), deadline_seconds=_LOCK_SECONDS):
        stored = {**_read(path), profile: Credential(api_url, token, user_id, profile)}
        write_durable(path, "\n".join(_table(one) for one in stored.values()))


def load_credential(profile: str = DEFAULT_PROFILE) -> Credential | None:
    """Return the token of a profile; None when nobody has logged in. Raises `InvalidRequest` for a damaged file."""
    return _read(credentials_file()).get(profile)


def require_credential(profile: str | None = None, api_url: str | None = None) -> Credential:
    """Return the token of a profile, or of the first profile for a server. Raises `NotLoggedIn`."""
    stored = _read(credentials_file())
    wanted = profile or DEFAULT_PROFILE
    if api_url is None:
        if wanted in stored:
            return stored[wanted]
        what = "not logged in" if profile is None else f"not logged in as the profile {profile!r}"
        raise NotLoggedIn(f"{what}. Run 'moot login' first.", hint=token_advice(DEFAULT_API_URL))
    url = checked_url(api_url)
    of_server = [one for one in stored.values() if one.api_url == url and profile in (None, one.profile)]
    if not of_server:
        raise NotLoggedIn(f"not logged in on {url}", hint=f"run 'moot login --api-url {url}' first")
    return next((one for one in of_server if one.profile == wanted), of_server[0])


def _read(path: Path) -> dict[str, Credential]:
    try:
        document: Mapping[str, object] = read_toml(path)
    except FileNotFoundError:
        return {}
    except InvalidRequest as error:
        raise InvalidRequest(error.message, hint=f"remove {path}, then run 'moot login'") from None
    reader = TableReader(str(path))
    found = {}
    for profile, table in document.items():
        where = dotted("", profile)
        values = reader.read(table, where, _KEYS)
        if missing := [key for key in _KEYS if key not in values and isinstance(table, dict) and key not in table]:
            reader.report(where, f"has no {missing[0]}")
        if len(values) == len(_KEYS):
            found[profile] = Credential(**values, profile=profile)
    reader.finish()
    return found


def _table(one: Credential) -> str:
    lines = [f"[{dotted('', one.profile)}]"]
    lines += [f"{key} = {quoted(getattr(one, key))}" for key in _KEYS]
    return "\n".join(lines) + "\n"
