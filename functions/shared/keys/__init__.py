"""The key ring, and what signs with it."""
