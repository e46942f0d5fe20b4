"""What the hooks of a launch run: `python -P -m moot.hooks EVENT RUN_FOLDER [HARNESS]`, with its input on stdin.

A hook reports what the agent does (`moot.agents.state`), records what the agent has read, and offers the messages that
wait in the mailbox. Each hook is a process of its own, so it imports little. It never fails: an error is logged, and
the agent goes on.

`moot/templates/claude/hooks` has other hooks, which a project keeps in its repository.
"""
