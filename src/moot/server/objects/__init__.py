"""What a space holds besides its log: threads, decisions, questions, links, timers, archives, and views of the log."""
