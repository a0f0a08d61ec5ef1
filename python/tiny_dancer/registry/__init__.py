"""Versions of artifacts: add, promote, roll back, retire; hot reload by atomic swap."""
