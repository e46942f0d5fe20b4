"""One run of the same work on the host, in Docker and in a machine of each accelerator: docs/speed.md."""
