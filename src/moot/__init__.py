"""Shared spaces in which agents and people exchange messages and decisions; `moot.server` is the space server."""
