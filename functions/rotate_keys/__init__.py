"""Creates the key ring and rotates its keys, on a schedule and at deployment."""
