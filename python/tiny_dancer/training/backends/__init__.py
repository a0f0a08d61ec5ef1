"""Trainable backends. To add one: write its file (and the engine's), add its recipe here."""

from tiny_dancer.training.backends.base import Backend, FittedBackend, Targets
from tiny_dancer.training.backends.linear import Linear
from tiny_dancer.training.backends.memory import Memory
from tiny_dancer.training.backends.trees import BoostedTrees, ExtraTrees

__all__ = ["FAMILIES", "Backend", "FittedBackend", "Targets"]

FAMILIES: tuple[tuple[Backend, ...], ...] = (
    (ExtraTrees(),),
    (Memory(), Memory("memory_firm", ridge=0.06)),
    (BoostedTrees(),),
    (Linear(), Linear("linear_loose", ridge=0.02)),
)
"""Every backend training considers, with its variants, default first; held-out rows decide which are used."""
