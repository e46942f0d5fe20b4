"""Provisioning of a machine of smolvm: the steps of `claude_bottle.provision`, by `machine cp` and `machine exec`."""
