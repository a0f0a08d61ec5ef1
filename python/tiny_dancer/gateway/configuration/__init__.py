"""``gateway.yaml``: its keys, what ties them together, and what follows from them."""
