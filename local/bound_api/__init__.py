"""The chalice project that serves the guarded API for key-bound tokens."""
