"""The chalice project that serves the authorization server."""
