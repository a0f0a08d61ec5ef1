"""Models whose zeros on a task look like answers that were not extracted, not like wrong answers.

A model's level on a task is expected from two things: what the others do there (their median), and
how far the model usually stands from the others (upper middle of its distances on the other tasks),
both in log-odds. A level near zero, far below expectation, where others do well, is suspicious.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.types import Outcomes

MINIMUM_ROWS = 20
MINIMUM_TASKS = 3
OTHERS_DO_WELL = 0.4
# The upper middle: failures on several tasks must not become what is usual.
USUAL_QUANTILE = 0.6
NEAR_ZERO = 0.2
FAILURE_LOG_ODDS = -2.5
FAILURE_STANDARD_ERRORS = -6.0
WEAK = 0.35
WEAK_LOG_ODDS = -2.0
WEAK_STANDARD_ERRORS = -4.0


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One model on one task.

    Attributes:
        model: index of the model.
        task: the task's name.
        level: the model's mean quality there.
        expected: what was expected of it.
        others: the other models' median there.
        failure: whether it looks like failed extraction; otherwise it is only unusually weak.
    """

    model: int
    task: str
    level: float
    expected: float
    others: float
    failure: bool


def suspicions(outcomes: Outcomes) -> list[Suspicion]:
    """Every model and task that stands out, in order of task and model.

    Needs at least two models and three tasks with 20 observed rows of each model.
    """
    tasks = sorted(set(outcomes.task))
    names = np.array(outcomes.task)
    observed = ~np.isnan(outcomes.quality)
    counts = np.array([observed[names == task].sum(axis=0) for task in tasks])
    sums = np.array([np.nansum(outcomes.quality[names == task], axis=0) for task in tasks])
    judged = np.asarray((counts >= MINIMUM_ROWS).all(axis=1), bool)
    if len(outcomes.models) < 2 or judged.sum() < MINIMUM_TASKS:
        return []
    kept = [task for task, keep in zip(tasks, judged, strict=True) if keep]
    counts, sums = counts[judged], sums[judged]
    level = sums / counts
    log_odds = _log_odds((sums + 0.5) / (counts + 1.0))
    found = []
    for model in range(len(outcomes.models)):
        others = np.median(np.delete(log_odds, model, axis=1), axis=1)
        distance = log_odds[:, model] - others
        for place, task in enumerate(kept):
            usual = np.quantile(np.delete(distance, place), USUAL_QUANTILE)
            expected = _share(others[place] + usual)
            error = np.sqrt(expected * (1 - expected) / counts[place, model])
            suspicion = _judge(
                log_odds[place, model] - others[place] - usual,
                (level[place, model] - expected) / error,
                Suspicion(model, task, float(level[place, model]), expected, _share(others[place]), failure=False),
            )
            if suspicion is not None:
                found.append(suspicion)
    return sorted(found, key=lambda suspicion: (suspicion.task, suspicion.model))


def _judge(log_odds: float, standard_errors: float, seen: Suspicion) -> Suspicion | None:
    if seen.others < OTHERS_DO_WELL:
        return None
    if seen.level <= NEAR_ZERO and log_odds <= FAILURE_LOG_ODDS and standard_errors <= FAILURE_STANDARD_ERRORS:
        return Suspicion(seen.model, seen.task, seen.level, seen.expected, seen.others, failure=True)
    if seen.level <= WEAK and log_odds <= WEAK_LOG_ODDS and standard_errors <= WEAK_STANDARD_ERRORS:
        return seen
    return None


def _log_odds(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.log(share / (1 - share))


def _share(log_odds: float) -> float:
    return float(1 / (1 + np.exp(-log_odds)))
