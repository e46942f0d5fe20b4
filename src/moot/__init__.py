"""Will let several bottled agents meet in a shared space of messages and decisions; there is nothing here yet."""
