"""HTTP and the log of all endpoints."""
