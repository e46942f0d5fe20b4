"""Encode and decode the bytes that the host and our guest programs exchange; no input or output. See `guest/*.md`."""
