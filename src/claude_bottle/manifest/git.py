"""The author of an agent's commits, and the repositories that it may fetch from and push to."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from claude_bottle.gate.remotes import Approval as _Approval
from claude_bottle.gate.remotes import PushRule, Remote, check_pattern, same_place, transport_of
from claude_bottle.manifest.fields import Line, Model, Name, matching
from claude_bottle.manifest.problems import Fault


def _address(text: str) -> str:
    transport_of(text)
    return text


_Fingerprint = Annotated[
    str, AfterValidator(matching(re.compile(r"[0-9a-f]{16}"), "is no fingerprint: 16 hexadecimal digits"))
]


class GitPushRule(Model):
    """A branch or tag that the agent may push, once a person has approved the push."""

    ref: Annotated[str, AfterValidator(check_pattern)]
    """`refs/heads/NAME`, `refs/heads/PREFIX/*` for all branches below a prefix, or the same with `refs/tags`."""
    approve: _Approval = "ask"
    """`ask`: a person approves each push; `always`: a push that passes all checks is forwarded at once."""


class GitRemoteConfig(Model):
    """A repository that the bottle reaches through the git gate, which keeps the credentials on this computer."""

    url: Annotated[Line, AfterValidator(_address)]
    """The repository: a folder of this computer, `https://HOST/PATH`, `ssh://HOST/PATH` or `USER@HOST:PATH`."""
    fetch: bool = True
    """Whether the agent may fetch its branches and tags."""
    push: Annotated[tuple[GitPushRule, ...], Field(strict=False, max_length=64)] = ()
    """The branches and tags that the agent may push; all others are refused."""
    not_secret: Annotated[tuple[_Fingerprint, ...], Field(strict=False, max_length=256)] = ()
    """Fingerprints, as a refused push names them, of texts that look like secrets and are none."""


class GitConfig(Model):
    """The author of the agent's commits, and the repositories that its git reaches."""

    user_name: Line | None = None
    """The author's name."""
    user_email: Line | None = None
    """The author's e-mail address."""
    remotes: Annotated[dict[Name, GitRemoteConfig], Field(max_length=16)] = Field(default_factory=dict)
    """Repositories by the name of the remote; the agent's git reaches no other."""

    @model_validator(mode="after")
    def _one_place_each(self) -> GitConfig:
        places: dict[tuple[str, str], str] = {}
        for name, remote in self.remotes.items():
            other = places.setdefault(same_place(remote.url), name)
            if other != name:
                raise Fault(("remotes", name), f"is the same repository as {other}; remove one of them")
        return self

    def author(self, agent_name: str) -> tuple[str, str]:
        """Return the name and the address of the author, by default those of the agent."""
        return self.user_name or agent_name, self.user_email or f"{agent_name}@claude-bottle.invalid"

    def declared(self) -> tuple[Remote, ...]:
        """Return the remotes as the gate takes them."""
        return tuple(
            Remote(
                name, one.url, one.fetch, tuple(PushRule(rule.ref, rule.approve) for rule in one.push), one.not_secret
            )
            for name, one in self.remotes.items()
        )
