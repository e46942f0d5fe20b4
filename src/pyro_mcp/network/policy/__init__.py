"""What a machine may reach: the rules, the decisions by them, and the log."""
