"""The deployment that a command is about: found, and asked through AWS or over HTTP."""
