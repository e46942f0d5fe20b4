"""The remotes that a bottle's git may use: their addresses, and the refs that may be pushed.

An address is a folder of this host, `https://HOST/PATH`, `ssh://[USER@]HOST[:PORT]/PATH` or `[USER@]HOST:PATH`. No
other form is accepted: some of git's forms start a program, such as `ext::COMMAND`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

GATE_HOST = "git.bottle.internal"
"""The name by which the guest reaches the gate."""

Approval = Literal["ask", "always"]
"""Whether a person is asked before a push is forwarded."""
Transport = Literal["file", "https", "ssh"]

_HOST = r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}"
_PATH = r"[A-Za-z0-9._~%+@:,/-]{1,1024}"
_HTTPS = re.compile(rf"https://(?P<host>{_HOST})(:(?P<port>[0-9]{{1,5}}))?/(?P<path>{_PATH})", re.ASCII)
_SSH = re.compile(
    rf"ssh://((?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?(?P<host>{_HOST})(:(?P<port>[0-9]{{1,5}}))?/(?P<path>{_PATH})",
    re.ASCII,
)
_SCP = re.compile(
    rf"((?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?(?P<host>{_HOST}):(?P<path>[A-Za-z0-9._~/][A-Za-z0-9._~%+@,/-]*)",
    re.ASCII,
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_CREDENTIALS = re.compile(r"[a-z+]+://[^/@]*@", re.IGNORECASE)
# A part of git-check-ref-format(1): names that need no quoting anywhere.
_REF = re.compile(r"refs/(heads|tags)(/[A-Za-z0-9_][A-Za-z0-9._+=@#-]{0,127}){1,16}", re.ASCII)
_PATTERN = re.compile(r"refs/(heads|tags)(/[A-Za-z0-9_][A-Za-z0-9._+=@#-]{0,127}){0,16}(/\*)?", re.ASCII)


@dataclass(frozen=True)
class PushRule:
    """Refs that may be pushed: a full name, or `refs/heads/PREFIX/*` for all below the prefix."""

    ref: str
    approve: Approval = "ask"

    def matches(self, ref: str) -> bool:
        """Return whether the rule is about this ref."""
        if self.ref.endswith("/*"):
            return ref.startswith(self.ref[:-1])
        return ref == self.ref


@dataclass(frozen=True)
class Remote:
    """A repository that the gate serves as `NAME.git`, and its upstream `url`."""

    name: str
    url: str
    fetch: bool = True
    push: tuple[PushRule, ...] = ()
    not_secret: tuple[str, ...] = ()
    """Fingerprints of texts that look like secrets and are none."""

    @property
    def transport(self) -> Transport:
        """How git reaches the upstream."""
        return transport_of(self.url)

    @property
    def address(self) -> str:
        """The address for git: of a local upstream, its absolute path."""
        return os.path.expanduser(self.url.removeprefix("file://")) if self.transport == "file" else self.url

    def rule_for(self, ref: str) -> PushRule | None:
        """Return the first rule about a ref; None when it may not be pushed."""
        return next((rule for rule in self.push if rule.matches(ref)), None)


def is_remote_name(text: str) -> bool:
    """Return whether a text can be the name of a remote, which is also that of its folder."""
    return bool(_NAME.fullmatch(text))


def guest_url(name: str) -> str:
    """Return the address of a remote in the guest."""
    return f"http://{GATE_HOST}/{name}.git"


def transport_of(url: str) -> Transport:
    """Return how git reaches an upstream; raise `ValueError` for an address of another form."""
    if _CREDENTIALS.match(url) and not _SSH.fullmatch(url):
        raise ValueError("has a user name or a password; leave it out: git's credential helper on this host has it")
    if url.startswith(("/", "~/", "file:///")):
        if not url.isprintable():
            raise ValueError("has control characters")
        return "file"
    found = _HTTPS.fullmatch(url) or _SSH.fullmatch(url)
    if found and (found["port"] is None or 0 < int(found["port"]) < 65536):
        return "https" if url.startswith("https") else "ssh"
    if "://" not in url and "::" not in url and _SCP.fullmatch(url):
        return "ssh"
    raise ValueError(
        "is no address of a repository: write /FOLDER, https://HOST/PATH, ssh://HOST/PATH or USER@HOST:PATH"
    )


def same_place(url: str) -> tuple[str, str]:
    """Return the host and the path of an address in a form that is equal for all addresses of one repository.

    The user name, the port, the transport and a final `.git` do not count. A local repository has the host "".
    Raises `ValueError` for an address of no known form.
    """
    bare = _CREDENTIALS.sub(lambda match: match[0].partition("://")[0] + "://", url) if "://" in url else url
    bare = bare.replace("http://", "https://", 1) if bare.startswith("http://") else bare
    if transport_of(bare) == "file":
        path = os.path.realpath(os.path.expanduser(bare.removeprefix("file://")))
        return "", path.removesuffix("/.git")
    found = _HTTPS.fullmatch(bare) or _SSH.fullmatch(bare) or _SCP.fullmatch(bare)
    assert found is not None
    path = found["path"].strip("/").removesuffix(".git").rstrip("/")
    return found["host"].lower(), path


def other_spellings(url: str) -> list[str]:
    """Return the addresses under which programs may know the upstream `url`, and `url` itself, longest first."""
    spellings = {url}
    if transport_of(url) != "file":
        host, path = same_place(url)
        user = (_SSH.fullmatch(url) or _SCP.fullmatch(url) or {"user": None})["user"] if "@" in url else None
        for end in ("", ".git"):
            spellings |= {f"https://{host}/{path}{end}", f"ssh://{host}/{path}{end}"}
            for one in {"git", user} - {None}:
                spellings |= {f"ssh://{one}@{host}/{path}{end}", f"{one}@{host}:{path}{end}"}
    return sorted(spellings, key=lambda one: (-len(one), one))


def check_pattern(text: str) -> str:
    """Return a pattern of refs; raise `ValueError` unless it is a full name or ends in `/*`."""
    if not _PATTERN.fullmatch(text) or text in ("refs/heads", "refs/tags") or ".." in text or ".lock" in text:
        raise ValueError("is no name of a branch or tag: write refs/heads/NAME, refs/heads/PREFIX/* or refs/tags/NAME")
    return text


def is_plain_ref(ref: str) -> bool:
    """Return whether a ref is a branch or a tag whose name git, and any file system, takes as it is."""
    parts = ref.split("/")
    return bool(_REF.fullmatch(ref)) and not any(
        ".." in part or part.endswith((".", ".lock")) or "@{" in part or part == "@" for part in parts
    )
