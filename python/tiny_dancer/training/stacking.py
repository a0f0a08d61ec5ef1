"""Out-of-fold predictions of every backend, and which of them are used together.

Backends are divided by the spread of their out-of-fold predictions and summed with equal weights: with a few
hundred labels this was steadier than fitted weights (docs/adr/0004). Regression slopes, fitted out of fold, then
shrink each component of the sum to the size of what it explains, and all once more by how much of that comes true
on folds that slopes were not fitted on. Predictions and targets are centred fold by fold: a training fold's mean
is anticorrelated with that of the rows it leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tiny_dancer.training.backends import Backend, Targets
    from tiny_dancer.training.backends.base import Matrix
    from tiny_dancer.types import FeatureTable

    Ints = npt.NDArray[np.int64]


_STANDARD_ERRORS = 2.0


@dataclass(frozen=True, slots=True)
class Stack:
    """Backends used together.

    Attributes:
        chosen: indices into the backends considered; empty where nothing explains held-out rows.
        weight: float64 [chosen, r], applied to each backend's components.
        prediction: float64 [n, r], the stack's out-of-fold components.
        explained: share of the held-out differences between models explained by each set tried, by names.
    """

    chosen: tuple[int, ...]
    weight: Matrix
    prediction: Matrix
    explained: dict[str, float]


def out_of_fold(
    backends: Sequence[Backend],
    features: FeatureTable,
    targets: Targets,
    folds: Ints,
    seed: int,
    progress: Callable[[str], None],
) -> list[Matrix]:
    """Components each backend predicts for rows it was not fitted on: float64 [n, r] a backend."""
    predictions = [np.zeros_like(targets.components) for _ in backends]
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fitting, held_out = features.rows(inside), features.rows(outside)
        for backend, prediction in zip(backends, predictions, strict=True):
            prediction[outside] = backend.fit(fitting, targets.rows(inside), seed).predict(held_out)
            progress(f"{backend.name}, fold {fold + 1}")
    return predictions


def centred_by_fold(values: Matrix, folds: Ints, weight: npt.NDArray[np.float64]) -> Matrix:
    """``values`` less their weighted mean within each fold, float64 [n, r]."""
    result = values.copy()
    for fold in np.unique(folds):
        inside = folds == fold
        result[inside] -= np.average(values[inside], axis=0, weights=weight[inside])
    return result


def choose_stack(
    names: Sequence[str],
    families: Sequence[Sequence[int]],
    predictions: Sequence[Matrix],
    targets: Targets,
    basis: Matrix,
    folds: Ints,
    group: Ints,
) -> Stack:
    """The set of backends that best explains held-out differences between models.

    First each family (variants of one backend) is represented by its first variant, unless another explains
    more by over two standard errors of the paired difference. Then all families together are the default, which
    a smaller set replaces by the same rule: among noisy candidates the mean of all is the safest choice. Where
    that explains nothing, the set that explains most stands; where none does, nothing is learned.

    Args:
        names: of the backends.
        families: indices of each family's variants, default first.
        predictions: out-of-fold components, float64 [n, r] a backend.
        targets: what they predict.
        basis: float64 [m, r]; quality = mean + components · basisᵀ.
        folds: fold of each row.
        group: rows of a group are one unit of the standard error.
    """
    weight = targets.weight
    truth = centred_by_fold(targets.components, folds, weight)
    centred = [centred_by_fold(prediction, folds, weight) for prediction in predictions]
    relative = _relative(targets.quality - _fold_means(targets.quality, folds, weight))

    def fit(chosen: Sequence[int]) -> tuple[Matrix, Matrix]:
        spread = np.stack([_spread(centred[i], weight) for i in chosen])
        inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-9)
        total = sum(centred[i] * inverse[k] for k, i in enumerate(chosen))
        slope = _slopes(total, truth, weight)
        return inverse * slope, total * slope

    def losses(chosen: Sequence[int]) -> npt.NDArray[np.float64]:
        _, prediction = fit(chosen)
        return np.asarray(((relative - _relative(prediction @ basis.T)) ** 2).sum(1))

    nothing = (relative**2).sum(1)
    explained: dict[str, float] = {}

    def note(chosen: Sequence[int], loss: npt.NDArray[np.float64]) -> None:
        base = float(np.average(nothing, weights=weight))
        share = 1 - float(np.average(loss, weights=weight)) / base if base > 0 else 0.0
        explained[" + ".join(names[i] for i in chosen)] = share

    members: list[int] = []
    for family in families:
        best, best_loss = family[0], losses([family[0]])
        note([best], best_loss)
        for variant in family[1:]:
            loss = losses([variant])
            note([variant], loss)
            if _better(loss, best_loss, weight, group):
                best, best_loss = variant, loss
        members.append(best)
    chosen: tuple[int, ...] = tuple(members)
    chosen_loss = losses(chosen)
    note(chosen, chosen_loss)
    for size in range(len(members) - 1, 0, -1):
        for smaller in combinations(members, size):
            loss = losses(smaller)
            note(smaller, loss)
            if _better(loss, chosen_loss, weight, group):
                chosen, chosen_loss = smaller, loss

    def honest(chosen: Sequence[int]) -> float:
        """What comes true of the differences, or 0 where nothing is explained."""
        if np.average(nothing - losses(chosen), weights=weight) <= 0:
            return 0.0
        return _honesty(fit(chosen)[1][:, :-1], truth[:, :-1], folds, weight)

    if honest(chosen) <= 0:
        subsets = [each for size in range(1, len(members) + 1) for each in combinations(members, size)]
        chosen = min(subsets, key=lambda each: float(np.average(losses(each), weights=weight)))
    shrink = honest(chosen)
    coefficients, prediction = fit(chosen)
    if shrink <= 0:
        return Stack((), np.zeros((0, truth.shape[1])), np.zeros_like(truth), explained)
    factor = np.append(np.full(truth.shape[1] - 1, shrink), 1.0)
    return Stack(chosen, coefficients * factor, prediction * factor, explained)


def _honesty(prediction: Matrix, truth: Matrix, folds: Ints, weight: npt.NDArray[np.float64]) -> float:
    """How much of the differences between models comes true where each slope is fitted on other folds: in [0, 1].

    A slope for each of many components, fitted on the rows it is judged by, is too large on the whole (by a tenth
    on 9 to 15 models); all are shrunk by the one slope that is left when every fold has those of the others.
    """
    crossed = np.zeros_like(prediction)
    for fold in np.unique(folds):
        others = folds != fold
        row = weight[others][:, None]
        square = (row * prediction[others] ** 2).sum(0)
        product = (row * prediction[others] * truth[others]).sum(0)
        slope = np.divide(product, square, out=np.zeros_like(square), where=square > 0)
        crossed[~others] = prediction[~others] * np.maximum(slope, 0.0)
    square_all = float((weight[:, None] * crossed**2).sum())
    if square_all <= 0:  # there is nothing to shrink
        return 1.0
    return float(np.clip((weight[:, None] * crossed * truth).sum() / square_all, 0.0, 1.0))


def _spread(values: Matrix, weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Root mean square of all components but the last together, and of the last, the common level: float64 [r]."""
    square = np.average(values**2, axis=0, weights=weight)
    return np.asarray(np.sqrt(np.append(np.full(len(square) - 1, square[:-1].sum()), square[-1])))


def _slopes(total: Matrix, truth: Matrix, weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Slope of the truth on a sum of backends, by component, float64 [r].

    Midway between each component's own and that of all components but the last together: the lesser ones, which
    decide between the best models, have little to tell their own slope by.
    """
    product, square = ((weight[:, None] * total * each).sum(0) for each in (truth, total))

    def slope(product: Any, square: Any) -> Any:
        return np.maximum(np.divide(product, square, out=np.zeros_like(square), where=square > 0), 0.0)

    own = slope(product, square)
    common = slope(product[:-1].sum(keepdims=True), square[:-1].sum(keepdims=True))
    return np.append((own[:-1] + common) / 2, own[-1])


def _fold_means(values: Matrix, folds: Ints, weight: npt.NDArray[np.float64]) -> Matrix:
    return values - centred_by_fold(values, folds, weight)


def _relative(quality: Matrix) -> Matrix:
    """Quality less the row's mean over models: what a choice between models depends on."""
    return np.asarray(quality - quality.mean(1, keepdims=True))


def _better(
    loss: npt.NDArray[np.float64], than: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], group: Ints
) -> bool:
    """Whether the mean of ``than − loss`` exceeds two standard errors, groups being the units."""
    difference = (than - loss) * weight / weight.sum()
    by_group = np.bincount(np.unique(group, return_inverse=True)[1], difference)
    return bool(difference.sum() > _STANDARD_ERRORS * np.sqrt(np.square(by_group - by_group.mean()).sum()))
