"""The gateway as processes: starting, watching, reloading, health, and the demo."""
