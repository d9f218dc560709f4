"""Tokens that were issued: found, verified, revoked."""
