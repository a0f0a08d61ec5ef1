"""A scikit-learn-style estimator over (X, Y[n, models], cost)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tiny_dancer.errors import DataError
from tiny_dancer.routing import Router, featurise
from tiny_dancer.training.data import arrow
from tiny_dancer.training.fit import fit
from tiny_dancer.types import Outcomes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


class RouterEstimator(BaseEstimator):  # type: ignore[misc]
    """Fits a router to what each model scored on each text.

    Parameters:
        models: m names; by default those of Y's columns, or ``model_0``, ``model_1``, ….
        random_state: of folds and backends.

    Attributes:
        artifact_: the fitted artifact's bytes.
        router_: the :class:`~tiny_dancer.Router` in force.
        models_: m names.
        quality_: out-of-fold expected quality of the training rows, float64 [n, m].

    Example:
        >>> texts = [f"What is {i} + {i + 1}?" for i in range(40)]
        >>> Y = np.stack([np.arange(40) % 2, np.ones(40)], axis=1)
        >>> RouterEstimator().fit(texts, Y).predict(texts[:2]).shape
        (2,)
    """

    def __init__(self, models: Sequence[str] | None = None, random_state: int = 0) -> None:
        self.models = models
        self.random_state = random_state

    def fit(
        self,
        X: Sequence[str] | Any,
        Y: npt.ArrayLike | Any,
        cost: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        groups: npt.ArrayLike | None = None,
    ) -> RouterEstimator:
        """Fits on n texts, quality [n, m] in [0, 1] (NaN not observed) and, optionally, cost [n, m] in USD.

        Texts may be a list, or a column of pandas, polars or Arrow; quality and cost an array, or a DataFrame or
        Arrow table, whose columns name the models where ``models`` does not.

        Raises:
            DataError: shapes that disagree, or values outside their range.
            TrainingError: nothing observed.
        """
        texts = _texts(X)
        named = arrow.frame_matrix(Y)
        quality = _matrix("Y", Y if named is None else named[1], len(texts), upper=1.0)
        n, m = quality.shape
        names = named[0] if named is not None else tuple(f"model_{i}" for i in range(m))
        if self.models is not None:
            names = tuple(self.models)
        costs = arrow.frame_matrix(cost)
        if costs is not None and named is not None and costs[0] != named[0]:
            raise DataError("cost", ", ".join(costs[0]), f"give the columns of Y: {', '.join(named[0])}")
        cost = cost if costs is None else costs[1]
        if len(names) != m:
            raise DataError("models", f"{len(names)} names for {m} columns", "give one name a column of Y")
        if len(set(names)) < m:
            raise DataError("models", ", ".join(names), "name each model once")
        weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
        if weight.shape != (n,) or not (np.isfinite(weight).all() and (weight > 0).all()):
            raise DataError("sample_weight", f"shape {weight.shape}", f"give {n} finite weights above 0")
        group = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        if group.shape != (n,):
            raise DataError("groups", f"shape {group.shape}", f"give {n} labels")
        outcomes = Outcomes(
            sample_id=tuple(str(i) for i in range(n)),
            task=("",) * n,
            models=names,
            quality=quality,
            cost=None if cost is None else _matrix("cost", cost, n, upper=np.inf, columns=m),
            latency=None,
            weight=weight,
            group=group.astype(np.int64),
            prompt=tuple(texts),
            features=featurise(texts),
        )
        fitted = fit(outcomes, seed=self.random_state)
        self.artifact_ = fitted.artifact
        self.router_ = Router(fitted.artifact)
        self.models_ = names
        self.quality_ = fitted.quality
        return self

    def predict(self, X: Sequence[str]) -> npt.NDArray[np.int64]:
        """Index of the model chosen for each text, int64 [n]."""
        check_is_fitted(self, "router_")
        return self.router_.route_batch(_texts(X)).choice.astype(np.int64)

    def predict_quality(self, X: Sequence[str]) -> Floats:
        """Expected quality of every model, float64 [n, m]."""
        check_is_fitted(self, "router_")
        return self.router_.route_batch(_texts(X)).scores.astype(np.float64)

    def score(self, X: Sequence[str], Y: npt.ArrayLike) -> float:
        """Mean quality of the models chosen; rows whose choice was not observed are left out."""
        check_is_fitted(self, "router_")
        named = arrow.frame_matrix(Y)
        values = Y if named is None else named[1]
        quality = _matrix("Y", values, len(X), upper=1.0, columns=len(self.models_))
        chosen = quality[np.arange(len(quality)), self.predict(X)]
        return float(np.nanmean(chosen))

    def __getstate__(self) -> dict[str, Any]:
        """The state without the router, which holds compiled code: the artifact's bytes bring it back."""
        return {name: value for name, value in super().__getstate__().items() if name != "router_"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "artifact_"):
            self.router_ = Router(self.artifact_)


def _texts(X: Sequence[str]) -> list[str]:
    """The texts of an iterable; anything else in it is refused, not spelt out."""
    if isinstance(X, str):
        raise DataError("X", "one text", "give a list of texts")
    column = arrow.column_texts(X)
    texts = list(X) if column is None else column
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"X[{row}]", type(text).__name__, "give a text for every row")
    return texts


def _matrix(name: str, values: Any, rows: int, *, upper: float, columns: int | None = None) -> Floats:
    try:
        matrix = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(name, type(values).__name__, f"give a matrix of numbers with {rows} rows") from error
    if matrix.ndim != 2 or len(matrix) != rows or (columns is not None and matrix.shape[1] != columns):
        raise DataError(name, f"shape {matrix.shape}", f"give a matrix with {rows} rows and one column a model")
    bad = np.isinf(matrix) | (matrix < 0) | (matrix > upper)
    if bad.any():
        row = int(bad.any(1).argmax())
        limit = "in [0, 1]" if upper == 1 else "0 or more"
        raise DataError(f"{name}[{row}]", matrix[row].tolist(), f"give values {limit}, NaN where not observed")
    return matrix
