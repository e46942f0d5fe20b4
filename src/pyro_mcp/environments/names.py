"""Parse and check the names of environments. A name decides what is fetched and from where, so checks are strict."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyro_mcp.errors import InvalidRequest, UnknownEnvironment

_MAX_LENGTH = 400
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_OCI = re.compile(
    rf"oci:(?P<registry>(?P<host>\[[0-9a-fA-F:]+\]|{_LABEL}(?:\.{_LABEL})*)(?::[0-9]{{1,5}})?)"
    rf"/(?P<repository>{_COMPONENT}(?:/{_COMPONENT})*)"
    r":(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_CUSTOM = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,63})?")
_MAX_CUSTOM = 100
_RESERVED = ("oci", "debian")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True)
class ImageReference:
    """The parts of `oci:REGISTRY/REPOSITORY:TAG[@sha256:HEX]`. With a digest the tag is not resolved."""

    registry: str
    repository: str
    tag: str
    digest: str | None
    loopback: bool
    """True when the registry is on this host; only then is plain http accepted."""

    @property
    def tagged(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"

    def at(self, digest: str) -> str:
        """Return the reference to the manifest with this digest."""
        return f"{self.registry}/{self.repository}@{digest}"


def parse_image_reference(name: str) -> ImageReference:
    """Parse an `oci:` name; raises `InvalidRequest` with an example of a valid name."""
    found = _OCI.fullmatch(name) if len(name) <= _MAX_LENGTH else None
    if found is None or not _is_registry(found["registry"]):
        raise InvalidRequest(
            f"{name[:_MAX_LENGTH]!r} is not the name of a registry image",
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


def _is_registry(component: str) -> bool:
    """Return whether the first component of an image name is a registry, as Docker decides it.

    It is one when it holds a dot or a port, or is localhost; "library" in "library/alpine" is not.
    """
    return "." in component or ":" in component or component == "localhost"


def is_custom_name(name: str) -> bool:
    """Return whether a name has the form of a custom environment's name."""
    return (
        len(name) <= _MAX_CUSTOM and bool(_CUSTOM.fullmatch(name)) and name.split(":", maxsplit=1)[0] not in _RESERVED
    )


def check_custom_name(name: str) -> None:
    """Raise `InvalidRequest` unless a custom environment may have this name."""
    if not isinstance(name, str) or len(name) > _MAX_CUSTOM or not _CUSTOM.fullmatch(name):
        raise InvalidRequest(
            f"{str(name)[:_MAX_LENGTH]!r} is not a valid name for an environment",
            hint="use lower-case letters, digits, '.', '-' and '_', with an optional :TAG; for example my-project:1",
        )
    if name.split(":", maxsplit=1)[0] in _RESERVED:
        raise InvalidRequest(
            f"{name}: names that begin with {' or '.join(f'{one}:' for one in _RESERVED)} are reserved",
            hint="choose another name, for example my-project:1",
        )


def normalize_image_name(reference: str) -> str:
    """Return the `oci:` name of an image that is named as in a Dockerfile (`python:3.12`); raises `InvalidRequest`."""
    if reference.startswith("oci:"):
        return reference
    rest, _, digest = reference.partition("@")
    first, slash, below = rest.partition("/")
    if slash and _is_registry(first):
        registry, repository = first, below
    else:
        registry, repository = "docker.io", rest if slash else f"library/{rest}"
    if ":" not in repository:
        repository += ":latest"
    name = f"oci:{registry}/{repository}" + (f"@{digest}" if digest else "")
    parse_image_reference(name)
    return name


def unknown_environment(name: str, known: Iterable[str]) -> UnknownEnvironment:
    """Return the error for an unknown name, with similar names and all known ones in its hint."""
    names = sorted(known)
    similar = difflib.get_close_matches(name[:_MAX_LENGTH], names, n=3, cutoff=0.5)
    question = f"did you mean {' or '.join(similar)}? " if similar else ""
    return UnknownEnvironment(
        f"there is no environment {name[:_MAX_LENGTH]!r}",
        hint=f"{question}there are {', '.join(names)}, and registry images as oci:REGISTRY/NAME:TAG",
    )


def folder_name(name: str) -> str:
    """Return the name of an environment's folder: readable, and different for different environments."""
    readable = re.sub(r"[^a-z0-9.]+", "-", name.lower())[:80].strip("-.")
    return f"{readable}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"
