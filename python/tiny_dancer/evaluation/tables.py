"""The tables of an evaluation that need no bootstrap of their own: tasks, models and calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.evaluation.baselines import column_means
from tiny_dancer.evaluation.metrics import brier, expected_calibration_error, reliability
from tiny_dancer.evaluation.results import CalibrationFigures, ModelFigures, TaskFigures

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.evaluation.baselines import PolicyRows
    from tiny_dancer.evaluation.bootstrap import Interval
    from tiny_dancer.types import Outcomes

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]


def task_rows(outcomes: Outcomes) -> dict[str, npt.NDArray[np.bool_]]:
    """Rows of each task, most rows first; none where there is only one task."""
    names, inverse, counts = np.unique(np.array(outcomes.task), return_inverse=True, return_counts=True)
    if len(names) < 2:
        return {}
    return {str(names[i]): inverse == i for i in np.argsort(-counts, kind="stable")}


def task_figures(
    name: str,
    mask: npt.NDArray[np.bool_],
    router: PolicyRows,
    best_quality: Floats,
    reference_cost: Floats,
    weight: Floats,
    gap: Interval,
) -> TaskFigures:
    """One task's means over its rows (``mask`` bool [n]), with the router's gap to the best constant."""
    inside = np.where(mask, weight, 0.0)
    means = column_means(np.stack([router.quality, best_quality], axis=1), inside)
    paid = float(inside @ reference_cost)
    return TaskFigures(
        name=name or "(no task)",
        rows=int(mask.sum()),
        quality=float(means[0]),
        best_quality=float(means[1]),
        gap=gap,
        cost_ratio=float(inside @ router.cost) / paid if paid > 0 else float("nan"),
    )


def model_figures(
    predicted: Floats, quality: Floats, cost: Floats, decision: Ints, outcomes: Outcomes
) -> tuple[ModelFigures, ...]:
    """One entry per model: quality (completed, [n, m]), cost, share of the decisions, and the error of its
    forecast where it was scored."""
    weight = outcomes.weight
    means, costs = column_means(quality, weight), column_means(cost, weight)
    share = np.bincount(decision, weights=weight, minlength=len(outcomes.models)) / weight.sum()
    found = []
    for j, name in enumerate(outcomes.models):
        real, seen = outcomes.quality[:, j], int(np.isfinite(outcomes.quality[:, j]).sum())
        error = expected_calibration_error(predicted[:, j], real, weight=weight) if seen else float("nan")
        found.append(
            ModelFigures(
                name=name,
                quality=float(means[j]),
                cost=float(costs[j]),
                share=float(share[j]),
                observed=seen,
                calibration_error=error,
                brier=brier(predicted[:, j], real, weight=weight),
            )
        )
    return tuple(found)


def calibration_figures(predicted: Floats, outcomes: Outcomes) -> CalibrationFigures:
    """Reliability over all models and observed rows together."""
    weight = np.broadcast_to(outcomes.weight[:, None], predicted.shape)
    bins = reliability(predicted, outcomes.quality, weight=weight)
    return CalibrationFigures(
        predicted=tuple(bins.predicted.tolist()),
        observed=tuple(bins.observed.tolist()),
        calibration_error=float((bins.mass * np.abs(bins.predicted - bins.observed)).sum()),
        brier=brier(predicted, outcomes.quality, weight=weight),
    )
