"""The files of a project: `moot.toml`, which is committed, and `.moot/actors.json`, which holds the agents' keys.

config = require_config()                   # of this folder, one above, or the main worktree
agent = config.agent("qa")
environment = resolve_env(agent)            # its `env` with the secrets filled in
key = get_actor_key("qa")                   # also from a worktree of the project
"""

from __future__ import annotations

from moot.config.actors import (
    ACTORS_JSON,
    ActorKey,
    Actors,
    get_actor_key,
    load_actors,
    prepare_moot_folder,
    save_actors,
)
from moot.config.editing import set_in_project, set_value
from moot.config.own_folder import require_own_moot_folder
from moot.config.places import (
    MOOT_DIR,
    MOOT_TOML,
    find_moot_toml,
    in_main_worktree,
    main_worktree,
    moot_folder,
    project_folder,
)
from moot.config.reading import (
    AgentConfig,
    MootConfig,
    default_prompt,
    find_config,
    read_config,
    require_config,
    without_agents,
)
from moot.config.secret_values import resolve_env

__all__ = [
    "ACTORS_JSON",
    "MOOT_DIR",
    "MOOT_TOML",
    "ActorKey",
    "Actors",
    "AgentConfig",
    "MootConfig",
    "default_prompt",
    "find_config",
    "find_moot_toml",
    "get_actor_key",
    "in_main_worktree",
    "load_actors",
    "main_worktree",
    "moot_folder",
    "prepare_moot_folder",
    "project_folder",
    "read_config",
    "require_config",
    "require_own_moot_folder",
    "resolve_env",
    "save_actors",
    "set_in_project",
    "set_value",
    "without_agents",
]
