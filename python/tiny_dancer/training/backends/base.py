"""What every trainable backend gives: a fit, predictions as the engine will give them, and tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable

    Matrix: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Targets:
    """What a backend learns.

    Attributes:
        components: float64 [n, r], centred; the backend predicts these.
        quality: float64 [n, m], centred and without gaps: the columns the components are projections of.
            Trees split on them, and on their differences to the best constant, beside the components.
        weight: float64 [n].
        best_constant: index of the best constant model.
    """

    components: Matrix
    quality: Matrix
    weight: npt.NDArray[np.float64]
    best_constant: int

    def rows(self, index: npt.NDArray[np.int64]) -> Targets:
        """The same, of some rows."""
        return Targets(self.components[index], self.quality[index], self.weight[index], self.best_constant)


class FittedBackend(Protocol):
    """A trained scorer, quantised as the engine holds it."""

    @property
    def kind(self) -> str:
        """The engine's name for it."""

    def predict(self, features: FeatureTable) -> Matrix:
        """Components [n, r], with the quantised weights."""

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Tensors by the engine's names, without prefix."""


class Backend(Protocol):
    """A recipe that turns rows into a trained scorer."""

    @property
    def name(self) -> str:
        """Name of the recipe; unique in :data:`RECIPES`."""

    def fit(self, features: FeatureTable, targets: Targets, seed: int) -> FittedBackend:
        """Trains on n rows; the same seed gives the same scorer."""
