"""Output without the secrets that it holds: what `secrecy` offers, under the name that workspaces know it by."""

from pyro_mcp.secrecy import Mask, MaskStream

__all__ = ["Mask", "MaskStream"]
