"""One step of a FastGRNN over standardised cues and the static embedding, distilled from an ensemble.

Not among the families considered by default: on the visible tables it explained no more than they do
(benchmarks/quality/bench_fastgrnn.py). Asked for by name, held-out rows decide whether it stays in the stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.training.backends.linear import Linear
from tiny_dancer.training.backends.trees import ExtraTrees, unit_embedding
from tiny_dancer.training.fastgrnn import reference

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.training.backends.base import Backend, Matrix, Targets
    from tiny_dancer.types import FeatureTable

_FOLDS = 3


@dataclass(frozen=True, slots=True)
class FittedFastGrnn:
    """A cell and its head in int8, and how cues are standardised."""

    cue_mean: npt.NDArray[np.float32]
    cue_scale: npt.NDArray[np.float32]
    cell: dict[str, npt.NDArray[Any]]
    kind: str = "fastgrnn"

    def predict(self, features: FeatureTable) -> Matrix:
        """Components [n, r]."""
        x = _inputs(features, self.cue_mean, self.cue_scale)
        cell = reference.Cell.read(self.cell, "cell", x.shape[1])
        state = cell.step(x, np.zeros((len(x), len(cell.gate_bias)), np.float32))
        return np.asarray(reference.logits(self.cell, state), np.float64)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Tensors by the engine's names."""
        own = {name.removeprefix("cell."): values for name, values in self.cell.items()}
        return {"cue_mean": self.cue_mean, "cue_scale": self.cue_scale, **own}


def _inputs(
    features: FeatureTable, mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Standardised cues, then the unit embedding: float32 [n, CUES + 256]."""
    return np.hstack([(features.cues - mean) * scale, unit_embedding(features)])


@dataclass(frozen=True, slots=True)
class FastGrnn:
    """The recipe.

    Attributes:
        hidden: H.
        share: of the loss that imitates the ensemble rather than the outcomes.
    """

    name: str = "fastgrnn"
    hidden: int = 16
    share: float = 0.7

    def fit(self, features: FeatureTable, targets: Targets, seed: int) -> FittedFastGrnn:
        """Fits an ensemble out of fold on these rows, then the cell on outcomes and ensemble.

        Raises:
            MissingExtraError: jax is not installed.
        """
        from tiny_dancer.training.fastgrnn.regressor import fit_regressor

        deviation = features.cues.std(axis=0)
        mean = features.cues.mean(axis=0).astype(np.float32)
        scale = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0).astype(np.float32)
        tensors = fit_regressor(
            _inputs(features, mean, scale),
            targets.components,
            targets.weight,
            _ensemble(features, targets, seed),
            hidden=self.hidden,
            share=self.share,
            seed=seed,
        )
        return FittedFastGrnn(mean, scale, tensors)


def _ensemble(features: FeatureTable, targets: Targets, seed: int) -> Matrix:
    """Mean of trees' and linear predictions for rows they were not fitted on: [n, r]."""
    members: tuple[Backend, ...] = (ExtraTrees(), Linear())
    fold = np.random.default_rng(seed).permutation(len(features)) % _FOLDS
    found = np.zeros_like(targets.components)
    for each in range(_FOLDS):
        inside, outside = np.flatnonzero(fold != each), np.flatnonzero(fold == each)
        fitting, held_out = features.rows(inside), features.rows(outside)
        predictions = [member.fit(fitting, targets.rows(inside), seed).predict(held_out) for member in members]
        found[outside] = np.mean(predictions, axis=0)
    return found
