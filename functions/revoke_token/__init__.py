"""POST /oauth2/revoke: a client gives a token back before it expires."""
