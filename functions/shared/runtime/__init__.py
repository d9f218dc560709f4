"""What a warm Lambda process keeps, makes and asks: clocks, caches, settings, randomness, AWS."""
