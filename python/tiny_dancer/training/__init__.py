"""From an outcomes table to an artifact (`train` extra)."""
