"""The machine's network device."""
