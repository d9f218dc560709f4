"""The authorization server's Lambda functions, and the guarded API behind it."""
