"""The messages to one agent: which there are, how each was offered, and whether the agent has read it.

mailbox          the messages of a role, which its adapters and its hooks share; `mailbox_file` is the database
message_block    a message as text that a model reads, in which no other message can be forged
transcripts      what a harness records that its agent has read

This package imports nothing, because hooks use it and each hook starts a Python of its own.
"""
