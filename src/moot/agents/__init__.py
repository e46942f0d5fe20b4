"""What surrounds one agent: its place, its processes, its terminal, its worktree, and the state that its hooks report.

This package imports nothing, because hooks use it and each hook starts a Python of its own.
"""
