"""POST /oauth2/revoke: a client revokes one of its tokens."""
