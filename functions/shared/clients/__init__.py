"""Who may ask: clients, their records, and what they are registered for."""
