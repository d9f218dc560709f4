"""POST /oauth2/introspect: what a token stands for, to those whom it concerns."""
