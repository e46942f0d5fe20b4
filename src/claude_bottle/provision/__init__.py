"""Provisioning: the steps that bring files and settings into a bottle through its `Guest`; each can be repeated.

prompt      the agent's prompt, as a file that the harness reads
skills      the agent's skills, copied from this host
ca          the certificates that the bottle's programs trust
harness     the settings of the agent's program, and its kept login
git         the author of commits, and git's trust in the tree
supervise   the files and links of a step, written into the guest
"""
