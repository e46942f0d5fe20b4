"""What we ask of the machine we run on: programs, folders, locks. Everything else stands on this."""
