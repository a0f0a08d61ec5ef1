"""A router on a table: decisions, robustness and certificate, ready to evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.disguise import Texts
from tiny_dancer.evaluation.evaluate import evaluate
from tiny_dancer.evaluation.overlap import dropped_note, training_rows
from tiny_dancer.evaluation.results import GuaranteeFigures, RobustnessFigures
from tiny_dancer.evaluation.robustness import PERTURBATIONS, flip_share, perturb

if TYPE_CHECKING:
    from tiny_dancer.evaluation.results import Evaluation
    from tiny_dancer.routing import Router
    from tiny_dancer.types import DecisionBatch, Outcomes


def evaluate_router(router: Router, outcomes: Outcomes, *, seed: int = 0, title: str = "router") -> Evaluation:
    """Evaluates an artifact on rows it was not trained on.

    Rows that equal, or nearly equal, some it was trained on are left out where they are at most 2 %; where they
    are more, all are judged, and the evaluation says that its figures are optimistic.

    Args:
        router: loaded without changed models.
        outcomes: with features; columns in the artifact's order. Robustness is measured where texts are there.
        seed: of the bootstrap and the baselines' folds.
        title: what is evaluated, in words.

    Raises:
        DataError: no features, or other models.
    """
    if outcomes.features is None or outcomes.models != router.models:
        raise DataError(
            "models", ", ".join(outcomes.models), f"read the table with models={list(router.models)} and featurise"
        )
    features = router.features_of(outcomes)
    seen = training_rows(router.header, features, Texts.of(outcomes))
    dropped = 0 if seen.too_much else int(seen.rows.sum())
    if dropped:
        kept = np.flatnonzero(~seen.rows)
        outcomes, features = outcomes.rows(kept), features.rows(kept)
    batch = router.route_features(features)
    costs = batch.costs if np.isfinite(batch.costs).all() else None
    return evaluate(
        batch.scores.astype(np.float64),
        costs,
        batch.choice.astype(np.int64),
        outcomes,
        title=title,
        seed=seed,
        robustness=robustness(router, outcomes, seed, batch),
        guarantee=certificate(router),
        trained_on=seen.share if seen.too_much else 0.0,
        notes=[note for note in (dropped_note(dropped),) if note],
    )


def certificate(router: Router) -> GuaranteeFigures | None:
    """The certificate of a router as reports show it, or None."""
    found = router.guarantee
    if found is None:
        return None
    return GuaranteeFigures(
        certified=True,
        risk=found.risk,
        reference=found.reference,
        epsilon=found.epsilon,
        delta=found.delta,
        n=found.rows,
        p_value=found.p_value,
        date=found.date or None,
        budget=found.budget,
        batch=found.batch,
    )


def robustness(
    router: Router, outcomes: Outcomes, seed: int, decided: DecisionBatch | None = None
) -> tuple[RobustnessFigures, ...]:
    """Share of decisions that change with harmless changes of the text; nothing where the table holds no text.

    ``decided`` is what the router decided on these rows, where that is known.
    """
    if outcomes.prompt is None or outcomes.messages is not None or outcomes.features is None:
        return ()
    if decided is None:
        decided = router.route_features(router.features_of(outcomes))
    before = decided.choice.astype(np.int64)
    figures = []
    for kind in PERTURBATIONS:
        changed = [perturb(text, kind, seed) for text in outcomes.prompt]
        after = router.route_batch(changed, tools=outcomes.tools).choice.astype(np.int64)
        figures.append(RobustnessFigures(kind=kind, flips=flip_share(before, after)))
    return tuple(figures)
