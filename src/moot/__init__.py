"""Lets agents and people meet in a shared space of messages and decisions; `moot.server` is the space server."""
