"""Disposable microVM workspaces for coding agents."""

from __future__ import annotations
