"""Look up, verify and revoke issued tokens."""
