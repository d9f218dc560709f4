"""The metadata of the guarded API: its authorization server and its scopes."""
