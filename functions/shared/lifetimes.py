"""Lifetimes on which the clients, the keys and the storage agree, in seconds."""

DAY = 86_400

LONGEST_TOKEN_LIFETIME = DAY
"""The limit for a client's `token_lifetime`. Keys are published at least that long after their last signature."""
