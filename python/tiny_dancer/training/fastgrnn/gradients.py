"""The door to jax and optax, which carry no types of their own, belong to an extra and take a second to import.

They are imported where one of them is first used, so that what stands beside them works without them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tiny_dancer.extras import needed


class _Library:
    """A module that is imported by its first use."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        with needed():
            found = getattr(import_module(self._name), attribute)
        setattr(self, attribute, found)
        return found


jax: Any = _Library("jax")
numpy: Any = _Library("jax.numpy")
optax: Any = _Library("optax")
