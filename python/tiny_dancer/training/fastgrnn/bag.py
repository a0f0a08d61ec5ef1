"""The plain competitor: multinomial logistic regression on the mean of the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.training.fastgrnn.data import Examples

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True, slots=True)
class Bag:
    """A linear head on the mean input: the unit pooled embedding of a text, the mean vector of a sequence.

    Attributes:
        weight: float32 [L, D].
        bias: float32 [L].
        accuracy: on the stopping rows.
    """

    weight: Floats
    bias: Floats
    accuracy: float

    def logits(self, examples: Examples) -> Floats:
        """[n, L]."""
        return np.asarray(mean_inputs(examples) @ self.weight.T + self.bias, np.float32)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Tensors by the engine's names."""
        return {"head.weight": self.weight, "head.bias": self.bias}


def mean_inputs(examples: Examples) -> Floats:
    """float32 [n, D]."""
    if examples.vectors is not None:
        return np.asarray(examples.vectors.mean(axis=1), np.float32)
    assert examples.texts is not None
    return _core.encode(examples.texts)


def fit_bag(learning: Examples, label: Ints, stopping: Examples, stopping_label: Ints, labels: int) -> Bag:
    """Fits one model per strength of regularisation and keeps the one best on the stopping rows."""
    from sklearn.linear_model import LogisticRegression

    x, stop = mean_inputs(learning), mean_inputs(stopping)
    mean, deviation = x.mean(0), np.maximum(x.std(0), 1e-6)
    if learning.texts is not None:
        mean, deviation = np.zeros_like(mean), np.ones_like(deviation)  # embeddings have one scale already
    best: Bag | None = None
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit((x - mean) / deviation, label)
        weight = model.coef_ if labels > 2 else np.vstack([-model.coef_ / 2, model.coef_ / 2])
        bias = model.intercept_ if labels > 2 else np.array([-0.5, 0.5]) * model.intercept_
        weight = weight / deviation
        bias = bias - weight @ mean
        accuracy = float(((stop @ weight.T + bias).argmax(1) == stopping_label).mean())
        if best is None or accuracy > best.accuracy:
            best = Bag(np.ascontiguousarray(weight, np.float32), bias.astype(np.float32), accuracy)
    assert best is not None
    return best
