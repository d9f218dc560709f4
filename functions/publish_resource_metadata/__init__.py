"""The guarded API's description of itself: who issues its tokens, and which scopes it knows."""
