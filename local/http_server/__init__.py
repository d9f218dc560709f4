"""An HTTP/1.1 server that parses strictly and writes each response with one call (RFC 9112)."""
