"""What a warm Lambda process keeps and asks: clocks, caches, settings, AWS."""
