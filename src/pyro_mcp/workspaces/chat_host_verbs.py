"""The verbs about chat hosts: who may use our server."""

from __future__ import annotations

from pathlib import Path

from pyro_mcp import hosts
from pyro_mcp.results import ChatHostChange, ChatHostConfig, ChatHostDoctor


class ChatHostVerbs:
    """Claude Code, Codex and OpenCode, and the entry for `pyro mcp serve` in their settings."""

    def connect_host(
        self,
        host: str,
        *,
        name: str = "pyro",
        profile: str | None = None,
        mode: str | None = None,
        project_path: str | Path | None = None,
        repo_url: str | None = None,
        repo_ref: str | None = None,
        no_project_source: bool = False,
    ) -> ChatHostChange:
        """Have a host ("claude-code", "codex", "opencode") start our server; the server is tried first.

        An entry that is right already is left alone. Raises `Conflict` when `name` is another server's.
        """
        given = hosts.ServeOptions(profile, mode, project_path, repo_url, repo_ref, no_project_source)
        return hosts.connect(host, name, given)

    def host_config(
        self,
        host: str,
        *,
        name: str = "pyro",
        profile: str | None = None,
        mode: str | None = None,
        project_path: str | Path | None = None,
        repo_url: str | None = None,
        repo_ref: str | None = None,
        no_project_source: bool = False,
    ) -> ChatHostConfig:
        """What a person would write into the settings of a host; nothing is changed."""
        given = hosts.ServeOptions(profile, mode, project_path, repo_url, repo_ref, no_project_source)
        return hosts.config(host, name, given)

    def doctor_hosts(self, *, name: str = "pyro") -> ChatHostDoctor:
        """How each host stands with our server; every server that has an entry is really started."""
        return hosts.doctor(name)

    def repair_host(self, host: str, *, name: str = "pyro") -> ChatHostChange:
        """Have a host's entry start this pyro again, with the options that it had."""
        return hosts.repair(host, name)

    def disconnect_host(self, host: str, *, name: str = "pyro") -> ChatHostChange:
        """Take our server out of a host's settings; what else the user had there stays."""
        return hosts.disconnect(host, name)
