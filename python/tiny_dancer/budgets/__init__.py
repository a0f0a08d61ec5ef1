"""Budgets: what may be spent, reserved before it is spent, by any number of threads and processes together."""

from tiny_dancer.budgets.hold import Hold
from tiny_dancer.budgets.keeping import Budgets, Standing

__all__ = ["Budgets", "Hold", "Standing"]
