"""POST /oauth2/introspect: the state and the meaning of a token, for callers that it concerns."""
