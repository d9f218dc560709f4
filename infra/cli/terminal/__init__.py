"""What is typed, read from files and shown: options, texts, times, errors and exit codes."""
