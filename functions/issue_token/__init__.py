"""POST /oauth2/token: tokens for authenticated clients."""
