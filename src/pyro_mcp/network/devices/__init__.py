"""The guest's network device: a tap for a virtual machine, a veth pair for a container."""
