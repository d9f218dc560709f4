"""What HTTP and the log are to every endpoint: events, forms, answers, errors, audit lines."""
