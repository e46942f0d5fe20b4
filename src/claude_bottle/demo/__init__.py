"""The demonstration: a real coding agent repairs a small program in a bottle, without an account.

A script of ours (`scripted_model`) stands in for its model. It runs on this host and always gives the same answers. The
agent reaches it as its model's API, through the gateway of the bottle.
"""

from claude_bottle.demo.story import demonstrate

__all__ = ["demonstrate"]
