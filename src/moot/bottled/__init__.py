"""What the runtime `bottle` adds to a role: the manifest of its bottle, its door to the space, the way of work back."""
