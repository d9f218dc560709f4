"""Makes the key ring and rotates it, on a schedule and at deployment."""
