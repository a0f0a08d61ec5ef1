"""The door to jax and optax, which carry no types of their own and belong to an extra."""

from __future__ import annotations

from tiny_dancer.errors import MissingExtraError

try:
    import jax
    import optax
    from jax import numpy
except ImportError as error:
    raise MissingExtraError("jax", "not installed", "pip install 'tiny-dancer[train]'") from error

__all__ = ["jax", "numpy", "optax"]
