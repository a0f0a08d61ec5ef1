"""The tools of a request: what was made of them, kept; which of them go on to a model."""
