"""Selection of tools: its tables, learning from which tools requests used, and judging it."""
