"""Bottles: a whole coding agent corked into a virtual machine or a container, from one manifest."""
