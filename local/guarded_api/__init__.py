"""The chalice project that serves the guarded API."""
