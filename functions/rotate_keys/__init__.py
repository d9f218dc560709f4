"""Makes the key ring, and will rotate it, on a schedule."""
