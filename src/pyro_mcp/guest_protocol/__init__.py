"""The bytes that the host and our programs in the guest exchange, without any input or output: see `guest/*.md`."""
