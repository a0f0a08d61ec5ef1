"""Trainable backends. To add one: write its file (and the engine's), add its recipe here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer.errors import OptionError
from tiny_dancer.extras import require
from tiny_dancer.training.backends.base import Backend, FittedBackend, Targets
from tiny_dancer.training.backends.fastgrnn import FastGrnn
from tiny_dancer.training.backends.linear import Linear
from tiny_dancer.training.backends.memory import Memory
from tiny_dancer.training.backends.trees import BoostedTrees, ExtraTrees

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FAMILIES", "Backend", "FittedBackend", "Targets", "families_named"]

FAMILIES: tuple[tuple[Backend, ...], ...] = (
    (ExtraTrees(),),
    (Memory(), Memory("memory_firm", ridge=0.06)),
    (Linear(), Linear("linear_loose", ridge=0.02)),
)
"""What training considers unless told otherwise, variants together, default first; held-out rows decide."""

ON_REQUEST: tuple[tuple[Backend, ...], ...] = ((BoostedTrees(),), (FastGrnn(),))
"""Families that are considered where they are named. Boosted trees beside the others told no more on held-out rows
(docs/adr/0004)."""


def families_named(names: Sequence[str] | None) -> tuple[tuple[Backend, ...], ...]:
    """The families of these names (that of the first variant), in this order; None is the default.

    Raises:
        OptionError: an unknown name, or none.
        MissingExtraError: jax is not installed, which ``fastgrnn`` needs.
    """
    if names is None:
        return FAMILIES
    known = {family[0].name: family for family in (*FAMILIES, *ON_REQUEST)}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise OptionError("backends", ", ".join(unknown) or "none", f"give some of {', '.join(known)}")
    if FastGrnn().name in names:
        require("jax", "optax")
    return tuple(known[name] for name in dict.fromkeys(names))
