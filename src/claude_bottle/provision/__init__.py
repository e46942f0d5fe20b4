"""Provisioning: what a launch brings into a bottle, as idempotent steps over its `Guest`; one module each.

prompt      the agent's prompt, as a file that the harness reads
skills      the agent's skills, copied from this host
ca          the certificates that the bottle's programs trust
git         who commits, and that git trusts the tree
supervise   the hooks by which the agent's program reports its state
"""
