"""Tiny Dancer."""
