"""Client authentication, by each supported method."""
