"""A fitted router judged on the rows each of its parts did not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.evaluation.evaluate import evaluate
from tiny_dancer.evaluation.router import robustness
from tiny_dancer.routing import Router

if TYPE_CHECKING:
    from tiny_dancer.evaluation.results import Evaluation
    from tiny_dancer.training.fit import Fitted


def judge(fitted: Fitted, *, seed: int = 0, title: str = "router, out of fold") -> Evaluation:
    """Evaluates out-of-fold expectations and decisions on the training rows.

    What is judged is the policy that training set. One that was certified later decides otherwise: it is judged by
    its artifact, on further rows (:func:`tiny_dancer.evaluate`).

    Which backends are stacked was chosen on the same rows' out-of-fold predictions: the one thing here that saw
    them all.
    """
    costs = fitted.cost if fitted.cost is not None and np.isfinite(fitted.cost).all() else None
    return evaluate(
        fitted.quality,
        costs,
        fitted.decision,
        fitted.outcomes,
        title=title,
        folds=fitted.folds,
        seed=seed,
        robustness=robustness(Router(fitted.artifact), fitted.outcomes, seed),
    )
