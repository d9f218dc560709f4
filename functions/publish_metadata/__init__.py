"""The metadata of the authorization server, at its two well-known URLs."""
