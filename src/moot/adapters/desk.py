"""What the adapters of one role work with: its server, its agent, its space, its mailbox and its log."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from moot.client.errors import ServerFailed, Unreachable
from moot.client.models import Actor, ContextEvent
from moot.client.server_address import DEFAULT_API_URL
from moot.client.space_client import SpaceClient
from moot.config import find_config, load_actors, moot_folder
from moot.mailbox.mailbox import Mailbox
from pyro_mcp.errors import DeadlineExceeded, InvalidRequest

_TRY_AGAIN_SECONDS = 20.0
_MOST_LOG_BYTES = 2 * 1024 * 1024
_FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"


@dataclass(frozen=True)
class Role:
    """The settings of one role's adapters: from the environment, else from `moot.toml` and `.moot/actors.json`."""

    name: str
    api_url: str
    api_key: str = field(repr=False)
    space_id: str | None
    moot_folder: Path
    firehose: bool = False

    @classmethod
    def from_environment(cls) -> Role:
        """Return the role of this process. Raises `InvalidRequest` when there is no key for it."""
        name = os.environ.get("CONVO_ROLE", "")
        config, actors = find_config(), load_actors()
        mine = (actors.actors.get(name) or actors.actors.get(name.lower())) if actors else None
        key = os.environ.get("CONVO_API_KEY") or (mine.api_key if mine else "")
        if not key:
            raise InvalidRequest(
                f"there is no key for the role {name!r}" if name else "CONVO_ROLE is not set, so there is no key",
                hint="run 'moot init' in the project, or set CONVO_ROLE to a role of .moot/actors.json",
            )
        if mine and actors and config and key == mine.api_key:
            actors.require_server(config.api_url)
        api_url = os.environ.get("CONVO_API_URL") or (config.api_url if config else None)
        space_id = os.environ.get("CONVO_SPACE_ID") or (config.space_id if config else None)
        return cls(
            name or "agent",
            api_url or (actors.api_url if actors else None) or DEFAULT_API_URL,
            key,
            space_id or (actors.space_id if actors else None) or None,
            moot_folder(),
            firehose=os.environ.get("CONVO_CHANNEL_FIREHOSE", "").lower() == "true",
        )

    @property
    def run_folder(self) -> Path:
        """Return the folder of what runs for the role."""
        return self.moot_folder / "run" / self.name


class Desk:
    """The agent of one role at work."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.client = SpaceClient(role.api_url, role.api_key, explicit=True)
        self.mailbox = Mailbox(role.run_folder / "mailbox.db")
        self._space_id = role.space_id
        self._joined: set[str] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections and the mailbox."""
        self.client.close()
        self.mailbox.close()

    @cached_property
    def me(self) -> Actor:
        """Return the agent that the key belongs to."""
        return self.client.me()

    @property
    def space_id(self) -> str:
        """Return the space in which the agent works. Raises `InvalidRequest` when it is in none."""
        if self._space_id is None:
            raise InvalidRequest("Not connected to a space. Call join_space first.", hint="orientation() finds one")
        return self._space_id

    def work_in(self, space_id: str) -> None:
        """Let the following calls be about a space."""
        self._space_id = space_id

    def join(self, adapter: str) -> None:
        """Join the space of the role, once, if there is one."""
        with self._lock:
            if self._space_id is not None and self._space_id not in self._joined:
                self.client.create_space(self._space_id)
                self.client.join(self._space_id, adapter)
                self._joined.add(self._space_id)

    def in_space(self, method: str, path: str, body: object = None, **params: object) -> Any:
        """Return the answer to a call in the agent's space."""
        return self.client.in_space(self.space_id, method, path, body, params=params)

    def post(
        self,
        text: str,
        *,
        mentions: Sequence[str] = (),
        references: Sequence[str] = (),
        message_type: str | None = None,
        parent_event_id: str | None = None,
        thread_id: str | None = None,
    ) -> ContextEvent:
        """Post a message once, also when the server restarts meanwhile."""
        key = uuid.uuid4().hex
        end = time.monotonic() + _TRY_AGAIN_SECONDS
        pause = 0.2
        while True:
            try:
                return self.client.post(
                    self.space_id,
                    text,
                    mentions=list(dict.fromkeys(mentions)),
                    references=references,
                    message_type=message_type,
                    parent_event_id=parent_event_id,
                    thread_id=thread_id,
                    idempotency_key=key,
                )
            except (Unreachable, ServerFailed, DeadlineExceeded):
                if time.monotonic() + pause > end:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, 3.0)


def log_to_file(role: Role, adapter: str) -> None:
    """Write the log of an adapter to `.moot/logs/ADAPTER-ROLE.log`, and warnings to standard error too."""
    folder = role.moot_folder / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{adapter}-{role.name}.log"
    path.touch(mode=0o600)
    file = RotatingFileHandler(path, maxBytes=_MOST_LOG_BYTES, backupCount=1, encoding="utf-8", errors="replace")
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.WARNING)
    level = os.environ.get("MOOT_LOG_LEVEL", "DEBUG").upper()
    known = logging.getLevelNamesMapping()
    logging.basicConfig(level=known.get(level, logging.DEBUG), format=_FORMAT, handlers=[file, console], force=True)
    for chatty in ("asyncio", "httpx2", "httpcore2", "websockets", "mcp"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
