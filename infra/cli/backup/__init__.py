"""`gatehouse backup` and `gatehouse restore`: clients and public keys in a file."""
