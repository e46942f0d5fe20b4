"""One module for each kind of object; each has a `router`."""
