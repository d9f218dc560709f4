"""The authorization server's description of itself, at its two well-known addresses."""
