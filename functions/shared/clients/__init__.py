"""Clients: their records, secrets and rules."""
