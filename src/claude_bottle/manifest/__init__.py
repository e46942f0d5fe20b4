"""The manifest: the bottles and agents that can be launched, and what each may touch.

loaded = load(Path.cwd())
bottle = loaded.manifest.bottle_of("reviewer")
"""

from __future__ import annotations

from claude_bottle.errors import ExtraMissing

try:
    import pydantic as _  # noqa: F401
except ModuleNotFoundError as error:
    raise ExtraMissing("pydantic") from error

from claude_bottle.manifest.budget import BudgetConfig, PriceConfig
from claude_bottle.manifest.egress import EgressRule
from claude_bottle.manifest.git import GitConfig, GitPushRule, GitRemoteConfig
from claude_bottle.manifest.levels import LoadedManifest, load
from claude_bottle.manifest.models import (
    AgentConfig,
    BottleConfig,
    Manifest,
    ResourcesConfig,
)
from claude_bottle.manifest.secret import SecretConfig
from claude_bottle.manifest.supervise import SuperviseConfig
from claude_bottle.manifest.trust import is_trusted, require_trust

__all__ = [
    "AgentConfig",
    "BottleConfig",
    "BudgetConfig",
    "EgressRule",
    "GitConfig",
    "GitPushRule",
    "GitRemoteConfig",
    "LoadedManifest",
    "Manifest",
    "PriceConfig",
    "ResourcesConfig",
    "SecretConfig",
    "SuperviseConfig",
    "is_trusted",
    "load",
    "require_trust",
]
