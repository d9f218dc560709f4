"""`gatehouse clients`: their table, and all that is done to it."""
