"""`gatehouse token`: tokens as clients get them, and as the authorizer sees them."""
