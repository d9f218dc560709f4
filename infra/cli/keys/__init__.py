"""`gatehouse keys`: the key ring looked at and changed."""
