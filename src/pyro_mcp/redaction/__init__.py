"""What hides secrets in bytes and text."""

from pyro_mcp.redaction.masking import Mask, MaskStream

__all__ = ["Mask", "MaskStream"]
