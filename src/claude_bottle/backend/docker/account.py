"""The user of an image that the agent runs as."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

LABEL = "claude-bottle.account"


@dataclass(frozen=True)
class Account:
    """A user with its ids and its home; `name` is "" for ids that the image's /etc/passwd does not have."""

    name: str
    uid: int
    gid: int
    home: str

    @property
    def label(self) -> str:
        """The label of a container whose agent runs as this user."""
        return f"{LABEL}={json.dumps(asdict(self))}"

    @classmethod
    def from_label(cls, text: str) -> Account:
        """Return the account that a label describes."""
        return cls(**json.loads(text))
