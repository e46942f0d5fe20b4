"""The demonstration: a real coding agent repairs a small program in a bottle, without an account.

Its model is no model but a script of ours (`scripted_model`), which runs on this host and says the same each time. The
agent reaches it as its model's API, through the policy of the bottle.
"""

from claude_bottle.demo.story import demonstrate

__all__ = ["demonstrate"]
