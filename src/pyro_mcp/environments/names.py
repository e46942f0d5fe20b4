"""The grammar of environment names. A name decides what is fetched from where, so it is checked to the letter."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyro_mcp.errors import InvalidRequest, UnknownEnvironment

_LONGEST = 400
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_OCI = re.compile(
    rf"oci:(?P<registry>(?P<host>\[[0-9a-fA-F:]+\]|{_LABEL}(?:\.{_LABEL})*)(?::(?P<port>[0-9]{{1,5}}))?)"
    rf"/(?P<repository>{_PART}(?:/{_PART})*)"
    r":(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_OWN = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,63})?")
_LONGEST_OWN = 100
_RESERVED = ("oci", "debian")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True)
class ImageReference:
    """The parts of `oci:REGISTRY/NAME:TAG[@sha256:HEX]`; with a digest the tag is only a label."""

    registry: str
    repository: str
    tag: str
    digest: str | None
    loopback: bool
    """The registry is on this machine: the only case in which plain http is accepted."""

    @property
    def tagged(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"

    def at(self, digest: str) -> str:
        """The reference of exactly one manifest."""
        return f"{self.registry}/{self.repository}@{digest}"


def parse_image_reference(name: str) -> ImageReference:
    """Take an `oci:` name apart; raises `InvalidRequest` with an example of a good one."""
    found = _OCI.fullmatch(name) if len(name) <= _LONGEST else None
    if found is None or not _names_a_registry(found):
        raise InvalidRequest(
            f"{name[:_LONGEST]!r} is not the name of an image in a registry",
            hint="write it as oci:REGISTRY/NAME:TAG or oci:REGISTRY/NAME:TAG@sha256:HEX,"
            " for example oci:docker.io/library/alpine:3.20",
        )
    return ImageReference(
        registry=found["registry"],
        repository=found["repository"],
        tag=found["tag"],
        digest=found["digest"],
        loopback=found["host"] in _LOOPBACK,
    )


def _names_a_registry(found: re.Match[str]) -> bool:
    # "library/alpine" would otherwise be read as the host "library".
    return "." in found["host"] or found["host"] == "localhost" or found["host"][0] == "[" or found["port"] is not None


def is_custom_name(name: str) -> bool:
    """Whether a name has the form of those that users give to their own environments."""
    return len(name) <= _LONGEST_OWN and bool(_OWN.fullmatch(name)) and name.split(":", maxsplit=1)[0] not in _RESERVED


def check_custom_name(name: str) -> None:
    """Raise `InvalidRequest` unless an environment of the user's own may have this name."""
    if not isinstance(name, str) or len(name) > _LONGEST_OWN or not _OWN.fullmatch(name):
        raise InvalidRequest(
            f"{str(name)[:_LONGEST]!r} cannot name an environment",
            hint="use small letters, digits, '.', '-' and '_', with an optional :TAG; for example my-project:1",
        )
    if name.split(":", maxsplit=1)[0] in _RESERVED:
        raise InvalidRequest(
            f"{name}: names that begin with {' or '.join(f'{one}:' for one in _RESERVED)} are not yours to give",
            hint="choose another one; for example my-project:1",
        )


def normalize_image_name(reference: str) -> str:
    """The `oci:` name of an image as Dockerfiles write it (`python:3.12`); raises `InvalidRequest`."""
    if reference.startswith("oci:"):
        return reference
    rest, _, digest = reference.partition("@")
    first, slash, below = rest.partition("/")
    is_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, repository = (first, below) if is_registry else ("docker.io", rest if slash else f"library/{rest}")
    if ":" not in repository:
        repository += ":latest"
    name = f"oci:{registry}/{repository}" + (f"@{digest}" if digest else "")
    parse_image_reference(name)
    return name


def unknown_environment(name: str, known: Iterable[str]) -> UnknownEnvironment:
    """The error for a name that nobody knows; says what is near and what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(name[:_LONGEST], names, n=3, cutoff=0.5)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return UnknownEnvironment(
        f"there is no environment {name[:_LONGEST]!r}",
        hint=f"{meant}known are {', '.join(names)}, and images of any registry as oci:REGISTRY/NAME:TAG",
    )


def folder_name(name: str) -> str:
    """A file name for an environment: readable, and different for different environments."""
    readable = re.sub(r"[^a-z0-9.]+", "-", name.lower())[:80].strip("-.")
    return f"{readable}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"
