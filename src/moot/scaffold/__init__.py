"""`moot init`: a folder becomes a project of a team of agents.

    result = init(InitOptions(template="loop-4", say=print))

`provision` makes agents for roles that were added to `moot.toml` later; `set_focus` lets all work in another space.
"""

from __future__ import annotations

from moot.scaffold.options import InitOptions, InitResult, RoleAgent
from moot.scaffold.project import init
from moot.scaffold.provision import provision, set_focus

__all__ = ["InitOptions", "InitResult", "RoleAgent", "init", "provision", "set_focus"]
